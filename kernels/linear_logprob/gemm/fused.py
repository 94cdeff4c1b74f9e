"""A product of our own whose logits never leave a program's registers.

    forward    product, and each block's largest and sum -> joined block after block, in order
    backward   product again -> derivatives, rounded to operands

For operands of 16 bits, without a nucleus.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from munro.kernels.linear_logprob.call import Call
from munro.kernels.linear_logprob.rows.fused import LAUNCH, scaled

JOINED = 128
"""Positions of a program that joins blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Of a program."""

    rows: int = 128
    columns: int = 256
    inner: int = 64
    group: int = 8
    """Blocks of rows that take turns at the same columns, for L2's sake."""
    warps: int = 8
    stages: int = 3


ROOMY = Shape(columns=128, stages=4)
"""Where there is a soft cap, whose arithmetic takes registers."""


class Gemm:
    """Passes over blocks of one call's logits: their memory, and their launches."""

    def __init__(self, token_T: Tensor, call: Call, columns: int, shape: Shape) -> None:
        self._token, self._call, self._shape = token_T, call, shape
        blocks = triton.cdiv(columns, shape.columns)
        self._found = torch.empty(
            3, blocks, len(token_T), dtype=torch.float32, device=token_T.device
        )

    def gather(
        self,
        hidden: tuple[Tensor, ...],
        weight: tuple[Tensor, ...],
        state: Tensor,
        rows: slice,
        first: int,
    ) -> None:
        """Add the logits of some positions by a block of columns to what is known ([4, T])."""
        (h,), (w,) = (tuple(part[rows] for part in hidden), weight)
        height, width = len(h), len(w)
        top, total, dot, chosen = (line[rows] for line in state)
        if not first:
            chosen.fill_(float("nan"))  # a token of no column stays no number
        tops, totals, dots = self._found
        shape, stride = self._shape, self._found.stride(1)
        gather_blocks[self._grid(height, width)](
            h, w, h.stride(0), w.stride(0), height, width, h.shape[1],
            self._token[rows], tops, totals, dots, stride, chosen,
            first, *self._scale(),
            SOFTCAP=self._call.scale.softcap != 0, ENTROPY=self._call.entropy,
            ROWS=shape.rows, COLUMNS=shape.columns, INNER=shape.inner, GROUP=shape.group,
            num_warps=shape.warps, num_stages=shape.stages, **LAUNCH,
        )  # fmt: skip
        join[(triton.cdiv(height, JOINED),)](
            tops, totals, dots, stride, triton.cdiv(width, shape.columns),
            top, total, dot, first, height,
            ENTROPY=self._call.entropy, BLOCK=JOINED, num_warps=4, **LAUNCH,
        )  # fmt: skip

    def slopes(
        self,
        hidden: tuple[Tensor, ...],
        weight: tuple[Tensor, ...],
        known: tuple[Tensor, Tensor, Tensor, Tensor],
        out: tuple[Tensor, ...],
        rows: slice,
        first: int,
    ) -> None:
        """Write derivatives by the products of some positions with a block of columns.

        Args:
            known: [T] norms, entropies, gradients of log-probabilities and of entropies.
            out: [t, v] of the operands' precision.
        """
        (h,), (w,) = (tuple(part[rows] for part in hidden), weight)
        height, width = len(h), len(w)
        norm, entropy, grad, slant = (line[rows] for line in known)
        shape = self._shape
        slope_blocks[self._grid(height, width)](
            h, w, h.stride(0), w.stride(0), height, width, h.shape[1],
            self._token[rows], norm, entropy, grad, slant, out[0], out[0].stride(0),
            first, *self._scale(),
            SOFTCAP=self._call.scale.softcap != 0, ENTROPY=known[3] is not known[2],
            ROWS=shape.rows, COLUMNS=shape.columns, INNER=shape.inner, GROUP=shape.group,
            num_warps=shape.warps, num_stages=shape.stages, **LAUNCH,
        )  # fmt: skip

    def _grid(self, height: int, width: int) -> tuple[int]:
        shape = self._shape
        return (triton.cdiv(height, shape.rows) * triton.cdiv(width, shape.columns),)

    def _scale(self) -> tuple[float, float]:
        return self._call.scale.temperature, self._call.scale.softcap


@triton.jit  # type: ignore[untyped-decorator]
def _product(  # type: ignore[no-untyped-def]
    hidden, weight, hidden_stride, weight_stride, height, width, inner,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """This program's block of hidden @ weight.T, and its number of rows and of columns."""
    program = tl.program_id(0)
    num_columns = tl.cdiv(width, COLUMNS)
    in_group = GROUP * num_columns
    first = program // in_group * GROUP
    rows_of_group = tl.minimum(tl.cdiv(height, ROWS) - first, GROUP)
    block_row = first + program % in_group % rows_of_group
    block_column = program % in_group // rows_of_group
    # past the end a row is read again, whose sums are not looked at
    row = (block_row * ROWS + tl.arange(0, ROWS)) % height
    column = (block_column * COLUMNS + tl.arange(0, COLUMNS)) % width
    at = tl.arange(0, INNER)
    # numbers of 32 bits: a block of columns and the positions beside it are far below 2^31 numbers
    left = hidden + row[:, None] * hidden_stride + at[None, :]
    right = weight + column[None, :] * weight_stride + at[:, None]
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, inner, INNER):
        one = tl.load(left, mask=at[None, :] < inner - start, other=0.0)
        other = tl.load(right, mask=at[:, None] < inner - start, other=0.0)
        total = tl.dot(one, other, total)
        left += INNER
        right += INNER
    return total, block_row, block_column


@triton.jit(do_not_specialize=["first", "height"])  # type: ignore[untyped-decorator]
def gather_blocks(  # type: ignore[no-untyped-def]
    hidden, weight, hidden_stride, weight_stride, height, width, inner,
    token, tops, totals, dots, stride, chosen, first, temperature, softcap,
    SOFTCAP: tl.constexpr, ENTROPY: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """One program a block: what each position's logits in it come to, and the tokens' logits."""
    raw, block_row, block_column = _product(
        hidden, weight, hidden_stride, weight_stride, height, width, inner,
        ROWS, COLUMNS, INNER, GROUP,
    )  # fmt: skip
    row = block_row * ROWS + tl.arange(0, ROWS)
    at = block_column * COLUMNS + tl.arange(0, COLUMNS)
    logit, _ = scaled(raw, temperature, softcap, SOFTCAP)
    logit = tl.where((at < width)[None, :], logit, float("-inf"))
    column = (tl.load(token + row, mask=row < height, other=-1) - first).to(tl.int32)
    here = tl.sum(tl.where(at[None, :] == column[:, None], logit, 0.0), 1)
    in_block = (column >= block_column * COLUMNS) & (column < (block_column + 1) * COLUMNS)
    tl.store(chosen + row, here, mask=in_block & (column < width) & (row < height))
    top = tl.max(logit, 1)
    share = tl.exp(logit - top[:, None])
    place = block_column * stride + row
    tl.store(tops + place, top, mask=row < height)
    tl.store(totals + place, tl.sum(share, 1), mask=row < height)
    if ENTROPY:
        away = tl.where((at < width)[None, :], logit - top[:, None], 0.0)
        tl.store(dots + place, tl.sum(share * away, 1), mask=row < height)


@triton.jit(do_not_specialize=["first", "num_blocks", "height"])  # type: ignore[untyped-decorator]
def join(  # type: ignore[no-untyped-def]
    tops, totals, dots, stride, num_blocks, top, total, dot, first, height,
    ENTROPY: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program some positions: blocks join what is known of them, one after another."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = row < height
    seen = row < tl.where(first > 0, height, 0)
    so_far = tl.load(top + row, mask=seen, other=float("-inf"))
    sum_ = tl.load(total + row, mask=seen, other=0.0)
    away = tl.zeros((BLOCK,), tl.float32)
    if ENTROPY:
        away = tl.load(dot + row, mask=seen, other=0.0)
    for block in range(num_blocks):
        place = block * stride + row
        block_top = tl.load(tops + place, mask=inside, other=0.0)
        block_sum = tl.load(totals + place, mask=inside, other=0.0)
        new = tl.maximum(so_far, block_top)
        down, block_down = tl.exp(so_far - new), tl.exp(block_top - new)
        if ENTROPY:
            moved = tl.where(so_far == float("-inf"), 0.0, so_far - new)
            block_away = tl.load(dots + place, mask=inside, other=0.0)
            away = down * (away + sum_ * moved)
            away += block_down * (block_away + block_sum * (block_top - new))
        sum_ = sum_ * down + block_sum * block_down
        so_far = new
    tl.store(top + row, so_far, mask=inside)
    tl.store(total + row, sum_, mask=inside)
    if ENTROPY:
        tl.store(dot + row, away, mask=inside)


@triton.jit(do_not_specialize=["first", "height"])  # type: ignore[untyped-decorator]
def slope_blocks(  # type: ignore[no-untyped-def]
    hidden, weight, hidden_stride, weight_stride, height, width, inner,
    token, norm, entropy, grad, slant, out, out_stride, first, temperature, softcap,
    SOFTCAP: tl.constexpr, ENTROPY: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """One program a block: derivatives by its products."""
    raw, block_row, block_column = _product(
        hidden, weight, hidden_stride, weight_stride, height, width, inner,
        ROWS, COLUMNS, INNER, GROUP,
    )  # fmt: skip
    row = block_row * ROWS + tl.arange(0, ROWS)
    at = block_column * COLUMNS + tl.arange(0, COLUMNS)
    there = row < height
    logit, slope = scaled(raw, temperature, softcap, SOFTCAP)
    up = tl.load(grad + row, mask=there, other=0.0)
    logp = logit - tl.load(norm + row, mask=there, other=0.0)[:, None]
    share = tl.exp(logp)
    if ENTROPY:
        finite = tl.where(share > 0, logp, 0.0)
        finite += tl.load(entropy + row, mask=there, other=0.0)[:, None]
        weight_of = up[:, None] + tl.load(slant + row, mask=there, other=0.0)[:, None] * finite
    else:
        weight_of = up[:, None]
    column = (tl.load(token + row, mask=there, other=-1) - first).to(tl.int32)
    value = tl.where(at[None, :] == column[:, None], up[:, None], 0.0) - weight_of * share
    value = value * slope
    place = row[:, None] * out_stride + at[None, :]
    inside = there[:, None] & (at < width)[None, :]
    tl.store(out + place, value.to(out.dtype.element_ty), mask=inside)
