"""Products of groups of rows with a matrix each, and the gradients of the matrices.

    out[row] = left[row] @ weight[expert of row]^T           grouped
    grad[expert] = sum over its rows of left[row]^T right[row]     outer, summed in float32

Torch has the first for bfloat16 (`F.grouped_mm`); it rounds the second to bfloat16, and its other
types of operand make the host wait. Rows may be taken where they lie, through the order of the
assignments, instead of being copied together before. How many rows an expert has is known to the
GPU alone: as many programs start as could be needed, and those beyond the last tile return.

Shape letters: P = rows of a part, V = what a product gives, D = what it sums over, E = experts.
"""

# Triton's functions are its own language
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

ZEROED = 8192
"""Numbers that one program sets to zero."""
LAST = tl.constexpr(2**31 - 1)
# its interpreter takes bfloat16 for the integers that it keeps it in; products of float32 are exact
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Where the rows of each expert lie in a tensor.

    Example:
        Rows(starts=starts, order=sorted.order, each=8)
    """

    starts: Tensor
    """int32: the first."""
    order: Tensor | None = None
    """int32: the tensor is not sorted: row number i is that of token `order_A[i] // each`."""
    each: int = 1
    """Assignments a token."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Sizes of what one program computes, and how."""

    rows: int
    columns: int
    depth: int
    num_warps: int
    num_stages: int


GROUPED = {
    torch.bfloat16: Tile(128, 256, 64, 8, 3),
    torch.float16: Tile(128, 256, 64, 8, 3),
    torch.float32: Tile(64, 64, 32, 4, 2),
}
OUTER = {
    torch.bfloat16: Tile(128, 128, 64, 8, 3),
    torch.float16: Tile(128, 128, 64, 8, 3),
    torch.float32: Tile(64, 64, 32, 4, 2),
}
"""By operands. A fixed table: a search at run time would let bits and start-up vary."""


def grouped(
    left: Tensor,
    rows: Rows,
    weight_EVD: Tensor,
    sizes_E: Tensor,
    out_PV: Tensor,
    out_starts_E: Tensor,
    tile: Tile | None = None,
) -> Tensor:
    """Every row times the transposed matrix of its expert, into `out_PV`, which is returned.

    Args:
        left: [any, D] the operands' type.
        rows: where its rows lie.
        weight_EVD: the operands' type; any strides.
        sizes_E: int32 rows of each expert.
        out_PV: written at the rows of `out_starts_E`.
        out_starts_E: int32
        tile: another than the table's.
    """
    E, V, D = weight_EVD.shape
    tile = tile or GROUPED[left.dtype]
    if not out_PV.numel():
        return out_PV
    tile_ends_E = ((sizes_E + (tile.rows - 1)) // tile.rows).cumsum(0, dtype=torch.int32)
    most = triton.cdiv(len(out_PV), tile.rows) + min(E, len(out_PV))
    order = rows.starts if rows.order is None else rows.order
    _grouped[(most * triton.cdiv(V, tile.columns),)](
        left, weight_EVD, out_PV, order, tile_ends_E, sizes_E, rows.starts, out_starts_E,
        E, V, D, *weight_EVD.stride(), rows.each,
        GATHERS=rows.order is not None, EXPERTS=triton.next_power_of_2(E),
        ROWS=tile.rows, COLUMNS=tile.columns, DEPTH=tile.depth,
        WIDENS=INTERPRETED, num_warps=tile.num_warps, num_stages=tile.num_stages,
    )  # fmt: skip
    return out_PV


def outer(
    left: Tensor,
    left_rows: Rows,
    right: Tensor,
    right_rows: Rows,
    sizes_E: Tensor,
    out_EVW: Tensor,
    *,
    adds: bool = False,
    tile: Tile | None = None,
) -> Tensor:
    """left^T right over the rows of each expert, into `out_EVW`, which is returned.

    Args:
        left: [any, V]
        left_rows: where its rows lie.
        right: [any, W]
        right_rows: where its rows lie.
        sizes_E: int32 rows of each expert; where there is none, zeros are written.
        out_EVW: contiguous.
        adds: to what `out_EVW` holds.
        tile: another than the table's.
    """
    E, V, W = out_EVW.shape
    tile = tile or OUTER[left.dtype]
    left_order = left_rows.starts if left_rows.order is None else left_rows.order
    right_order = right_rows.starts if right_rows.order is None else right_rows.order
    if not out_EVW.numel():
        return out_EVW
    _outer[(E * triton.cdiv(V, tile.rows) * triton.cdiv(W, tile.columns),)](
        left, right, out_EVW, left_order, right_order, sizes_E,
        left_rows.starts, right_rows.starts, V, W, left_rows.each, right_rows.each,
        GATHERS_LEFT=left_rows.order is not None, GATHERS_RIGHT=right_rows.order is not None,
        ADDS=adds, ROWS=tile.rows, COLUMNS=tile.columns, DEPTH=tile.depth,
        WIDENS=INTERPRETED, num_warps=tile.num_warps, num_stages=tile.num_stages,
    )  # fmt: skip
    return out_EVW


def zeroed(out_EVW: Tensor, sizes_E: Tensor) -> Tensor:
    """Zero the matrices of experts that have no rows, in place; nobody has to know which."""
    E, size = len(out_EVW), out_EVW[0].numel()
    if out_EVW.numel():
        _zero[(E, triton.cdiv(size, ZEROED))](out_EVW, sizes_E, size, BLOCK=ZEROED, num_warps=4)
    return out_EVW


@triton.jit
def _zero(out, sizes, size, BLOCK: tl.constexpr):
    expert = tl.program_id(0)
    if tl.load(sizes + expert) > 0:
        return
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    zeros = tl.zeros((BLOCK,), dtype=out.dtype.element_ty)
    tl.store(out + expert.to(tl.int64) * size + at, zeros, at < size)


@triton.jit
def _grouped(
    left, weight, out, order, tile_ends, sizes, left_starts, out_starts,
    num_experts, V, D, stride_e, stride_v, stride_d, each,
    GATHERS: tl.constexpr, EXPERTS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, WIDENS: tl.constexpr,
):  # fmt: skip
    num_columns = tl.cdiv(V, COLUMNS)
    # columns of a tile of rows one after another: its rows, and the expert's matrix, stay in cache
    number = tl.program_id(0) // num_columns
    column = (tl.program_id(0) % num_columns) * COLUMNS + tl.arange(0, COLUMNS)
    experts = tl.arange(0, EXPERTS)
    ends = tl.load(tile_ends + experts, experts < num_experts, other=LAST)
    expert = tl.sum((ends <= number).to(tl.int32))
    if expert >= num_experts:
        return
    size = tl.load(sizes + expert)
    first_tile = tl.load(tile_ends + expert) - tl.cdiv(size, ROWS)
    row = (number - first_tile) * ROWS + tl.arange(0, ROWS)
    is_row = row < size
    at = tl.load(left_starts + expert) + row
    if GATHERS:
        at = tl.load(order + at, is_row, other=0) // each
    is_column = column < V
    inner = tl.arange(0, DEPTH)
    left_at = left + at.to(tl.int64)[:, None] * D + inner[None, :]
    weight_at = weight + expert.to(tl.int64) * stride_e
    weight_at += column[None, :].to(tl.int64) * stride_v + inner[:, None] * stride_d
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, D, DEPTH):
        is_inner = inner < D - start
        rows = tl.load(left_at, is_row[:, None] & is_inner[None, :], other=0.0)
        matrix = tl.load(weight_at, is_inner[:, None] & is_column[None, :], other=0.0)
        if WIDENS:
            rows, matrix = rows.to(tl.float32), matrix.to(tl.float32)
        total = tl.dot(rows, matrix, total, input_precision="ieee")
        left_at += DEPTH
        weight_at += DEPTH * stride_d
    out_row = (tl.load(out_starts + expert) + row).to(tl.int64)
    out_at = out + out_row[:, None] * V + column[None, :]
    tl.store(out_at, total.to(out.dtype.element_ty), is_row[:, None] & is_column[None, :])


@triton.jit
def _outer(
    left, right, out, left_order, right_order, sizes, left_starts, right_starts,
    V, W, left_each, right_each,
    GATHERS_LEFT: tl.constexpr, GATHERS_RIGHT: tl.constexpr, ADDS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, WIDENS: tl.constexpr,
):  # fmt: skip
    num_columns = tl.cdiv(W, COLUMNS)
    num_tiles = tl.cdiv(V, ROWS) * num_columns
    expert = tl.program_id(0) // num_tiles
    tile = tl.program_id(0) % num_tiles
    v = (tile // num_columns) * ROWS + tl.arange(0, ROWS)
    w = (tile % num_columns) * COLUMNS + tl.arange(0, COLUMNS)
    size = tl.load(sizes + expert)
    left_start = tl.load(left_starts + expert)
    right_start = tl.load(right_starts + expert)
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, size, DEPTH):
        row = start + tl.arange(0, DEPTH)
        is_row = row < size
        left_at, right_at = left_start + row, right_start + row
        if GATHERS_LEFT:
            left_at = tl.load(left_order + left_at, is_row, other=0) // left_each
        if GATHERS_RIGHT:
            right_at = tl.load(right_order + right_at, is_row, other=0) // right_each
        one = tl.load(
            left + left_at.to(tl.int64)[:, None] * V + v[None, :],
            is_row[:, None] & (v < V)[None, :],
            other=0.0,
        )
        other = tl.load(
            right + right_at.to(tl.int64)[:, None] * W + w[None, :],
            is_row[:, None] & (w < W)[None, :],
            other=0.0,
        )
        if WIDENS:
            one, other = one.to(tl.float32), other.to(tl.float32)
        total = tl.dot(tl.trans(one), other, total, input_precision="ieee")
    at = expert.to(tl.int64) * V * W + v.to(tl.int64)[:, None] * W + w[None, :]
    is_in = (v < V)[:, None] & (w < W)[None, :]
    if ADDS:
        total += tl.load(out + at, is_in, other=0.0).to(tl.float32)
    tl.store(out + at, total.to(out.dtype.element_ty), is_in)
