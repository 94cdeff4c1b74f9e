"""NVIDIA's GPUs, in Triton: what is read is the candidates' rows, and each sum has its order.

    _scores    a program a position    rows of the matrix -> logits, softmax on the way
    _slopes    some candidates         derivatives by the logits
    _add_rows  a program a position    weighted rows of the matrix -> hidden's gradient
    _add_rows  a program a distinct id weighted hidden states -> the gradient of its row

Where a position has very many candidates, or an id is in very many nuclei, several programs share
the work, each a part of it, and `_join_scores` or `_join_rows` goes over their results in order.

Shape suffixes: T = positions, D = model width, V = vocabulary, M = candidates of all positions
together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from munro.kernels.gradient import dtype_of, grad_of
from munro.kernels.nucleus_logprob.call import Call
from munro.kernels.nucleus_logprob.layout import Plan, Sums

LAUNCH = {"enable_fp_fusion": True}
"""Said aloud, for Triton's default is to change and would change bits."""
OPERANDS = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
MOST_COLUMNS, MOST_ROWS, NUMBERS = 1024, 8, 4096
SLOPES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """How much a program holds at once."""

    rows: int
    """Candidates."""
    columns: int
    """Of a row's D."""
    warps: int = 4


def tiling(width: int) -> Tiling:
    """For rows of a width: as few turns as possible, and little room beside them."""
    columns = triton.next_power_of_2(width)
    if columns > MOST_COLUMNS:
        columns = MOST_COLUMNS
    while columns >= 512 and -(-width // columns) * columns - width >= columns // 4:
        columns //= 2  # too much of the last turn would be for nothing
    columns = max(16, columns)
    return Tiling(rows=min(MOST_ROWS, max(1, NUMBERS // columns)), columns=columns)


def nucleus_logprob(
    hidden_TD: Tensor, weight_VD: Tensor, token_T: Tensor, plan: Plan, call: Call
) -> Tensor:
    """See `munro.kernels.nucleus_logprob`."""
    hidden_TD, weight_VD = (_with_whole_rows(one) for one in (hidden_TD, weight_VD))
    logp_T: Tensor = _Fused.apply(hidden_TD, weight_VD, token_T, plan, call)  # type: ignore[no-untyped-call]
    return logp_T


def _with_whole_rows(matrix: Tensor) -> Tensor:
    return matrix if matrix.stride(1) == 1 or matrix.shape[1] == 1 else matrix.contiguous()


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_TD: Tensor, weight_VD: Tensor, token_T: Tensor, plan: Plan, call: Call
    ) -> Tensor:
        num, width = hidden_TD.shape
        tiles, scale = tiling(width), call.scale
        logit_M = hidden_TD.new_empty(len(plan.ids), dtype=torch.float32)
        norm_T = hidden_TD.new_empty(num, dtype=torch.float32)
        logp_T = torch.empty_like(norm_T)
        parts = plan.by_position
        known = plan.ids, token_T, logit_M, norm_T, logp_T
        if parts.num_parts:
            _scores[(parts.num_parts,)](
                hidden_TD, weight_VD, plan.owner, parts.starts, parts.into, *known,
                hidden_TD.stride(0), weight_VD.stride(0), scale.temperature, scale.softcap,
                D=width, SOFTCAP=scale.softcap != 0, OPERAND=OPERANDS[call.precision.operand],
                ROWS=tiles.rows, COLUMNS=tiles.columns, num_warps=tiles.warps, **LAUNCH,
            )  # fmt: skip
        if parts.num_splits:
            _join_scores[(parts.num_splits,)](
                plan.starts, parts.split_into, *known, BLOCK=SLOPES, num_warps=4, **LAUNCH
            )
        ctx.save_for_backward(hidden_TD, weight_VD, token_T, logit_M, norm_T)
        ctx.plan, ctx.call = plan, call
        return logp_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T: Tensor) -> tuple[Tensor | None, ...]:
        hidden_TD, weight_VD, token_T, logit_M, norm_T = ctx.saved_tensors
        plan, call = ctx.plan, ctx.call
        grad_M = torch.empty_like(logit_M)
        if len(grad_M):
            _slopes[(triton.cdiv(len(grad_M), SLOPES),)](
                logit_M, plan.ids, plan.owner, token_T, norm_T, grad_T.float().contiguous(), grad_M,
                len(grad_M), call.scale.temperature, call.scale.softcap,
                SOFTCAP=call.scale.softcap != 0, BLOCK=SLOPES, num_warps=4, **LAUNCH,
            )  # fmt: skip
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = grad_weight = None
        if wants_hidden:
            grad_hidden = torch.empty_like(hidden_TD, memory_format=torch.contiguous_format)
            add_rows(weight_VD, plan.ids, grad_M, None, plan.by_position, grad_hidden, call)
        if wants_weight:
            if call.adds:
                total_VD = grad_of(weight_VD)
            else:
                total_VD = grad_weight = torch.zeros_like(weight_VD, dtype=dtype_of(weight_VD))
            add_rows(hidden_TD, plan.owner, grad_M, plan.order, plan.by_id, total_VD, call)
        return grad_hidden, grad_weight, None, None, None


def add_rows(
    table: Tensor,
    rows_M: Tensor,
    factor_M: Tensor,
    order_M: Tensor | None,
    sums: Sums,
    out: Tensor,
    call: Call,
) -> None:
    """Sums of weighted rows of a table, section by section, into rows of `out`.

    Args:
        table: [N, D]
        rows_M: [M] row of the table that each candidate stands for.
        factor_M: [M] what it is multiplied by.
        order_M: [M] candidates in the order of `sums`; None where they stand in it.
        sums: the sections.
        out: [K, D]; with an order the sums are added to it, without they replace what is there.
        call: for the precision of the table's numbers.
    """
    if not sums.num_parts:
        return
    width = table.shape[1]
    tiles = tiling(width)
    adds = order_M is not None
    partial = table.new_empty(sums.num_partials, width, dtype=torch.float32)
    turns = triton.cdiv(width, tiles.columns)
    sizes = {"D": width, "ROWS": tiles.rows, "COLUMNS": tiles.columns, "ADDS": adds}
    _add_rows[(sums.num_parts, turns)](
        table, rows_M, factor_M, order_M if adds else rows_M, sums.starts, sums.into, out, partial,
        table.stride(0), out.stride(0), OPERAND=OPERANDS[call.precision.operand],
        num_warps=tiles.warps, **sizes, **LAUNCH,
    )  # fmt: skip
    if sums.num_splits:
        _join_rows[(sums.num_splits, turns)](
            partial, sums.split_starts, sums.split_into, out, out.stride(0),
            num_warps=tiles.warps, **sizes, **LAUNCH,
        )  # fmt: skip


@triton.jit
def _scaled(raw, temperature, softcap, SOFTCAP: tl.constexpr):  # type: ignore[no-untyped-def]
    """Logits of products."""
    if SOFTCAP:
        # tanh by the exponential of what is below 0, which cannot overflow
        ratio = raw / softcap
        small = tl.exp(-2.0 * tl.abs(ratio))
        tanh = (1.0 - small) / (1.0 + small)
        raw = softcap * tl.where(ratio < 0, -tanh, tanh)
    return raw / temperature


@triton.jit
def _scores(  # type: ignore[no-untyped-def]
    hidden, weight, owner, starts, into, ids, token, logit, norm, logp,
    hidden_stride, weight_stride, temperature, softcap,
    D: tl.constexpr, SOFTCAP: tl.constexpr, OPERAND: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One program a part of a position's candidates; where that is all, its softmax too."""
    part = tl.program_id(0)
    begin, end = tl.load(starts + part), tl.load(starts + part + 1)
    position = tl.load(owner + begin).to(tl.int64)
    sampled = tl.load(token + position)
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    top, total, chosen = float("-inf"), 0.0, 0.0
    for first in range(begin, end, ROWS):
        here = first + row < end
        candidate = tl.load(ids + first + row, mask=here, other=0).to(tl.int64)
        sums = tl.zeros((ROWS, COLUMNS), tl.float32)
        for left in range(0, D, COLUMNS):
            wide = left + column < D
            one = tl.load(hidden + position * hidden_stride + left + column, mask=wide, other=0.0)
            at = weight + candidate[:, None] * weight_stride + left + column[None, :]
            other = tl.load(at, mask=here[:, None] & wide[None, :], other=0.0)
            one, other = one.to(OPERAND).to(tl.float32), other.to(OPERAND).to(tl.float32)
            sums += one[None, :] * other
        found = _scaled(tl.sum(sums, 1), temperature, softcap, SOFTCAP)
        tl.store(logit + first + row, found, mask=here)
        found = tl.where(here, found, float("-inf"))
        higher = tl.maximum(top, tl.max(found, 0))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(found - higher), 0)
        chosen += tl.sum(tl.where(here & (candidate == sampled), found, 0.0), 0)
        top = higher
    whole = tl.load(into + part) >= 0
    top += tl.log(total)
    tl.store(norm + position, top, mask=whole)
    tl.store(logp + position, chosen - top, mask=whole)


@triton.jit
def _join_scores(starts, into, ids, token, logit, norm, logp, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """One program a position whose logits several have made: its softmax."""
    position = tl.load(into + tl.program_id(0)).to(tl.int64)
    begin, end = tl.load(starts + position), tl.load(starts + position + 1)
    sampled = tl.load(token + position)
    at = tl.arange(0, BLOCK)
    top, total, chosen = float("-inf"), 0.0, 0.0
    for first in range(begin, end, BLOCK):
        here = first + at < end
        found = tl.load(logit + first + at, mask=here, other=float("-inf"))
        candidate = tl.load(ids + first + at, mask=here, other=-1)
        higher = tl.maximum(top, tl.max(found, 0))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(found - higher), 0)
        chosen += tl.sum(tl.where(candidate == sampled, found, 0.0), 0)
        top = higher
    top += tl.log(total)
    tl.store(norm + position, top)
    tl.store(logp + position, chosen - top)


@triton.jit(do_not_specialize=["size"])
def _slopes(  # type: ignore[no-untyped-def]
    logit, ids, owner, token, norm, grad, out, size, temperature, softcap,
    SOFTCAP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Derivatives of what is to be differentiated by the products that gave the logits."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = at < size
    position = tl.load(owner + at, mask=here, other=0)
    found = tl.load(logit + at, mask=here, other=0.0)
    share = tl.exp(found - tl.load(norm + position, mask=here, other=0.0))
    sampled = tl.load(token + position, mask=here, other=0)
    is_token = tl.load(ids + at, mask=here, other=-1) == sampled
    slope = tl.where(is_token, 1.0, 0.0) - share
    if SOFTCAP:
        tanh = found * temperature / softcap
        slope *= 1.0 - tanh * tanh
    slope = slope / temperature * tl.load(grad + position, mask=here, other=0.0)
    tl.store(out + at, slope, mask=here)


@triton.jit
def _add_rows(  # type: ignore[no-untyped-def]
    table, rows, factor, order, starts, into, out, partial, table_stride, out_stride,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, ADDS: tl.constexpr,
    OPERAND: tl.constexpr,
):  # fmt: skip
    """One program a part and some columns: the sum of its weighted rows."""
    part = tl.program_id(0)
    begin, end = tl.load(starts + part), tl.load(starts + part + 1)
    row = tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    wide = column < D
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(begin, end, ROWS):
        here = first + row < end
        candidate = first + row
        if ADDS:
            candidate = tl.load(order + candidate, mask=here, other=0)
        at = tl.load(rows + candidate, mask=here, other=0).to(tl.int64)
        by = tl.load(factor + candidate, mask=here, other=0.0)
        value = tl.load(
            table + at[:, None] * table_stride + column[None, :],
            mask=here[:, None] & wide[None, :],
            other=0.0,
        )
        sums += by[:, None] * value.to(OPERAND).to(tl.float32)
    total = tl.sum(sums, 0)
    target = tl.load(into + part).to(tl.int64)
    if target >= 0:
        at = out + target * out_stride + column
        if ADDS:
            total += tl.load(at, mask=wide, other=0.0)
        tl.store(at, total, mask=wide)
    else:
        tl.store(partial + (-1 - target) * D + column, total, mask=wide)


@triton.jit
def _join_rows(  # type: ignore[no-untyped-def]
    partial, starts, into, out, out_stride,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, ADDS: tl.constexpr,
):  # fmt: skip
    """One program a sum of several parts and some columns."""
    begin, end = tl.load(starts + tl.program_id(0)), tl.load(starts + tl.program_id(0) + 1)
    row = tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    wide = column < D
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(begin, end, ROWS):
        at = (first + row).to(tl.int64)
        sums += tl.load(
            partial + at[:, None] * D + column[None, :],
            mask=(first + row < end)[:, None] & wide[None, :],
            other=0.0,
        )
    total = tl.sum(sums, 0)
    at = out + tl.load(into + tl.program_id(0)).to(tl.int64) * out_stride + column
    if ADDS:
        total += tl.load(at, mask=wide, other=0.0)
    tl.store(at, total, mask=wide)
