# mypy: disable-error-code="untyped-decorator, no-untyped-def"
"""NVIDIA's GPUs, in Triton: what is read is the candidates' rows, and each sum has its order.

    _scores     a program a position     rows of the matrix -> logits, softmax on the way
    _gradients  a program a distinct id  weighted hidden states -> the gradient of its row
                and one a position       weighted rows of the matrix -> hidden's gradient

Where a position has very many candidates, or an id is in very many nuclei, several programs share
the work, each a part of it, and `_join_scores` or `_join_rows` goes over their results in order.
Launches are few, for a host takes longer to make one than the card to work it off.

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
from munro.kernels.nucleus_logprob.layout import Plan

LAUNCH = {"enable_fp_fusion": True}
"""Said aloud, for Triton's default is to change and would change bits."""
OPERANDS = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
ROWS = 4
MOST_COLUMNS, LEAST_COLUMNS = 1024, 16
BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Tiling:
    """How much a program holds at once.

    Example:
        Tiling(4, 1024, 4)
    """

    rows: int
    """Candidates."""
    columns: int
    """Of a row's D."""
    warps: int


def tiling(width: int) -> Tiling:
    """For rows of a width: as few turns as possible, and little room beside them."""
    columns = min(MOST_COLUMNS, max(LEAST_COLUMNS, triton.next_power_of_2(width)))
    while columns >= 512 and -(-width // columns) * columns - width >= columns // 4:
        columns //= 2  # too much of the last turn would be for nothing
    return Tiling(rows=ROWS, columns=columns, warps=4)


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
                plan.starts, parts.split_into, *known, BLOCK=BLOCK, num_warps=4, **LAUNCH
            )
        ctx.save_for_backward(hidden_TD, weight_VD, token_T, logit_M, norm_T)
        ctx.plan, ctx.call = plan, call
        return logp_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T: Tensor) -> tuple[Tensor | None, ...]:
        hidden_TD, weight_VD, token_T, logit_M, norm_T = ctx.saved_tensors
        plan, call = ctx.plan, ctx.call
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = grad_weight = total_VD = None
        if wants_hidden:
            grad_hidden = torch.empty_like(hidden_TD, memory_format=torch.contiguous_format)
        if wants_weight and call.adds:
            total_VD = grad_of(weight_VD)
        elif wants_weight:
            total_VD = grad_weight = torch.zeros_like(weight_VD, dtype=dtype_of(weight_VD))
        known = token_T, logit_M, norm_T, grad_T.float()
        _add_gradients(hidden_TD, weight_VD, plan, call, known, grad_hidden, total_VD)
        return grad_hidden, grad_weight, None, None, None


def _add_gradients(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    plan: Plan,
    call: Call,
    known: tuple[Tensor, Tensor, Tensor, Tensor],
    grad_hidden: Tensor | None,
    grad_weight: Tensor | None,
) -> None:
    """Write hidden's gradient, and add to the matrix's; None where one is not wanted.

    Args:
        known: tokens [T], logits [M], logarithms of the sums [T], what is to be multiplied [T].
    """
    width, scale = hidden_TD.shape[1], call.scale
    tiles = tiling(width)
    turns = triton.cdiv(width, tiles.columns)
    by_id = plan.by_id if grad_weight is not None else None
    by_position = plan.by_position if grad_hidden is not None else None
    num_ids = by_id.num_parts if by_id else 0
    num_parts = num_ids + (by_position.num_parts if by_position else 0)
    if not num_parts:
        return
    wholes = [hidden_TD if one is None else one for one in (grad_weight, grad_hidden)]
    partials = [
        hidden_TD.new_empty(sums.num_partials if sums else 0, width, dtype=torch.float32)
        for sums in (by_id, by_position)
    ]
    sizes = {"D": width, "ROWS": tiles.rows, "COLUMNS": tiles.columns, "num_warps": tiles.warps}
    _gradients[(num_parts, turns)](
        hidden_TD, weight_VD, plan.ids, plan.owner, plan.order, *known,
        plan.by_id.starts, plan.by_id.into, wholes[0], partials[0],
        plan.by_position.starts, plan.by_position.into, wholes[1], partials[1],
        num_ids, known[3].stride(0), hidden_TD.stride(0), weight_VD.stride(0),
        wholes[0].stride(0), wholes[1].stride(0), scale.temperature, scale.softcap,
        SOFTCAP=scale.softcap != 0, OPERAND=OPERANDS[call.precision.operand], **sizes, **LAUNCH,
    )  # fmt: skip
    for sums, whole, partial in zip((by_id, by_position), wholes, partials, strict=True):
        if sums and sums.num_splits:
            _join_rows[(sums.num_splits, turns)](
                partial, sums.split_starts, sums.split_into, whole, whole.stride(0),
                ADDS=sums is by_id, **sizes, **LAUNCH,
            )  # fmt: skip


@triton.jit
def _scaled(raw, temperature, softcap, SOFTCAP: tl.constexpr):
    """Logits of products."""
    if SOFTCAP:
        # tanh by the exponential of what is below 0, which cannot overflow
        ratio = raw / softcap
        small = tl.exp(-2.0 * tl.abs(ratio))
        tanh = (1.0 - small) / (1.0 + small)
        raw = softcap * tl.where(ratio < 0, -tanh, tanh)
    return raw / temperature


@triton.jit
def _scores(
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
def _join_scores(starts, into, ids, token, logit, norm, logp, BLOCK: tl.constexpr):
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


@triton.jit(do_not_specialize=["num_ids", "grad_stride"])
def _gradients(
    hidden, weight, ids, owner, order, token, logit, norm, grad,
    id_starts, id_into, id_out, id_partial, starts, into, out, partial,
    num_ids, grad_stride, hidden_stride, weight_stride, id_stride, out_stride,
    temperature, softcap,
    SOFTCAP: tl.constexpr, OPERAND: tl.constexpr,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One program a part and some columns: first the parts of ids, then those of positions."""
    part = tl.program_id(0)
    if part < num_ids:
        _add_part(
            part, id_starts, id_into, id_out, id_partial, id_stride, hidden, hidden_stride,
            ids, owner, order, token, logit, norm, grad, grad_stride, temperature, softcap,
            SOFTCAP, OPERAND, D, ROWS, COLUMNS, True,
        )  # fmt: skip
    else:
        _add_part(
            part - num_ids, starts, into, out, partial, out_stride, weight, weight_stride,
            ids, owner, order, token, logit, norm, grad, grad_stride, temperature, softcap,
            SOFTCAP, OPERAND, D, ROWS, COLUMNS, False,
        )  # fmt: skip


@triton.jit
def _add_part(
    part, starts, into, out, partial, out_stride, table, table_stride,
    ids, owner, order, token, logit, norm, grad, grad_stride, temperature, softcap,
    SOFTCAP: tl.constexpr, OPERAND: tl.constexpr,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BY_ID: tl.constexpr,
):  # fmt: skip
    """The sum of a part's rows, each times the derivative by its candidate's product."""
    begin, end = tl.load(starts + part), tl.load(starts + part + 1)
    row = tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    wide = column < D
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(begin, end, ROWS):
        here = first + row < end
        candidate = first + row
        if BY_ID:
            candidate = tl.load(order + candidate, mask=here, other=0)
        word = tl.load(ids + candidate, mask=here, other=0)
        position = tl.load(owner + candidate, mask=here, other=0)
        at = (position if BY_ID else word).to(tl.int64)
        value = tl.load(
            table + at[:, None] * table_stride + column[None, :],
            mask=here[:, None] & wide[None, :],
            other=0.0,
        )
        found = tl.load(logit + candidate, mask=here, other=0.0)
        share = tl.exp(found - tl.load(norm + position, mask=here, other=0.0))
        sampled = tl.load(token + position, mask=here, other=-1)
        slope = tl.where(word == sampled, 1.0, 0.0) - share
        if SOFTCAP:
            tanh = found * temperature / softcap
            slope *= 1.0 - tanh * tanh
        up = tl.load(grad + position.to(tl.int64) * grad_stride, mask=here, other=0.0)
        sums += (slope / temperature * up)[:, None] * value.to(OPERAND).to(tl.float32)
    total = tl.sum(sums, 0)
    target = tl.load(into + part).to(tl.int64)
    if target >= 0:
        to = out + target * out_stride + column
        if BY_ID:
            total += tl.load(to, mask=wide, other=0.0)
        tl.store(to, total, mask=wide)
    else:
        tl.store(partial + (-1 - target) * D + column, total, mask=wide)


@triton.jit
def _join_rows(
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
