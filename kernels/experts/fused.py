"""Experts on a GPU: sorted by counting, multiplied in groups, gathered and summed by places.

    ids ──► order, places
    x[token] ──► gate, up ──► silu(gate) * up ──► down ──► sum over a token's K places
              grouped          _activate        grouped          _sum_places

Going back, the gate of a place is a dot of what is inside the expert, which is there, and not of
its answer, which is therefore not kept:

    dout[token] ──► @ down ──► _activate_backward ──► dgate, d(gate, up), gate * hidden
    d(gate, up) @ gate_up ──► sum over a token's K places ──► dx

Every sum has one order: no atomic operation, so twice the same is the same bits. No [N, K, W]
tensor in float32 is made. In rounds, what is inside the experts is bounded and computed twice.

Shape letters: N = tokens, W = width the experts work in, I = an expert's inner width, E = experts,
K = experts a token goes to, A = N * K assignments, P = rows of a part of them.
"""

# Triton's functions are its own language
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from munro.kernels.experts.products.fused import Rows, grouped, outer, zeroed
from munro.kernels.experts.routing.fused import Sorted, by_expert, count, route

__all__ = ["count", "experts", "route"]

BLOCK = 1024
"""Numbers that one program computes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """What does not change between a forward and its backward pass."""

    dtype: torch.dtype
    """Of the products' operands."""
    most: int = 0
    """Rows of one expert that are computed at once; 0 for no limit."""
    learns: bool = True
    """A backward pass may come."""
    library: bool = True
    """Let torch's grouped product do what it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows that are computed together: all, or a round of them."""

    sizes: Tensor
    far: Tensor
    """int32: where each expert's rows begin among all that are sorted."""
    near: Tensor
    """int32: where they begin in this part."""
    ends: Tensor
    """int32: one past the last of each expert in this part."""
    room: int
    """At least the number of rows."""
    rows: Tensor | None = None
    """int32: which of all sorted rows each is, -1 beyond the last; None where they are all."""


def experts(
    x_NW: Tensor,
    gate_up_EIW: Tensor,
    down_EWI: Tensor,
    ids_NK: Tensor,
    gates_NK: Tensor,
    round_tokens: int = 0,
) -> Tensor:
    """See `munro.kernels.experts.experts`."""
    device = x_NW.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_NW.dtype
    how = How(dtype=dtype, most=round_tokens, learns=torch.is_grad_enabled())
    return mixed(x_NW, gate_up_EIW, down_EWI, ids_NK, gates_NK, how)


def mixed(
    x_NW: Tensor,
    gate_up_EIW: Tensor,
    down_EWI: Tensor,
    ids_NK: Tensor,
    gates_NK: Tensor,
    how: How,
) -> Tensor:
    """`experts`, computed as told."""
    out: Tensor = _Fused.apply(x_NW, gate_up_EIW, down_EWI, ids_NK, gates_NK, how)
    return out


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_NW: Tensor,
        gate_up_EIW: Tensor,
        down_EWI: Tensor,
        ids_NK: Tensor,
        gates_NK: Tensor,
        how: How,
    ) -> Tensor:
        where = by_expert(ids_NK, len(gate_up_EIW))
        parts = _parts(where, how.most)
        x, gate_up, down = (one.to(how.dtype) for one in (x_NW, gate_up_EIW, down_EWI))
        x = x.contiguous()
        rounds_AW = x.new_empty(ids_NK.numel(), down.shape[1]) if how.most else None
        answer_AW, inner = rounds_AW, []
        for part in parts:
            inner_PI = _products(_taken(x, where, part, how), gate_up, part, how)
            hidden_PI = Taken(_activated(inner_PI, part), Rows(starts=part.near))
            answer_AW = _products(hidden_PI, down, part, how, rounds_AW)
            if how.learns and not how.most:
                inner.append(inner_PI)
            del inner_PI, hidden_PI  # before the next round's
        if how.learns:
            ctx.how, ctx.num_parts = how, len(parts)
            ctx.dtypes = (x_NW.dtype, gate_up_EIW.dtype, down_EWI.dtype, gates_NK.dtype)
            # rounded weights too, as autocast keeps those of any layer
            ctx.save_for_backward(
                x, gate_up, down, gates_NK,
                where.order, where.places, where.sizes, where.ends, *inner,
            )  # fmt: skip
        assert answer_AW is not None
        return _summed(answer_AW, where.places, gates_NK)

    @staticmethod
    def backward(ctx: Any, grad_NW: Tensor) -> Any:
        x, gate_up, down, gates_NK, order_A, places_NK, sizes_E, ends_E = ctx.saved_tensors[:8]
        inner, how = ctx.saved_tensors[8:], ctx.how
        where = Sorted(order=order_A, places=places_NK, sizes=sizes_E, ends=ends_E)
        needs_x, needs_gate_up, needs_down, *_ = ctx.needs_input_grad
        grad = grad_NW.to(how.dtype).contiguous()
        gates_NK = gates_NK.contiguous()
        grad_gates = torch.empty_like(gates_NK, dtype=torch.float32)
        rounds_AW = x.new_empty(len(order_A), x.shape[1]) if how.most else None
        grad_row_AW, grad_gate_up, grad_down = rounds_AW, None, None
        for part in _parts(where, how.most, ctx.num_parts):
            rows, grad_rows = (_taken(one, where, part, how) for one in (x, grad))
            inner_PI = inner[0] if inner else _products(rows, gate_up, part, how)
            # hidden's gradient first; then, in the same memory, hidden times its gate
            hidden_PI = _products(grad_rows, down.transpose(1, 2), part, how)
            grad_inner_PI = _activated_backward(
                inner_PI, hidden_PI, gates_NK, grad_gates, where, part
            )
            del inner_PI
            hidden, grad_inner = (
                Taken(one, Rows(starts=part.near)) for one in (hidden_PI, grad_inner_PI)
            )
            if needs_down:
                grad_down = _gradient(grad_rows, hidden, part, ctx.dtypes[2], how, grad_down)
            del grad_rows, hidden, hidden_PI
            if needs_gate_up:
                grad_gate_up = _gradient(grad_inner, rows, part, ctx.dtypes[1], how, grad_gate_up)
            del rows
            if needs_x:
                back = gate_up.transpose(1, 2)
                grad_row_AW = _products(grad_inner, back, part, how, rounds_AW)
            del grad_inner, grad_inner_PI  # before the next round's
        grad_x = None
        if grad_row_AW is not None and needs_x:
            grad_x = _summed(grad_row_AW, places_NK, None)
        grads = (grad_x, grad_gate_up, grad_down, grad_gates)
        for_x, for_gate_up, for_down, for_gates = (
            None if one is None else one.to(dtype)
            for one, dtype in zip(grads, ctx.dtypes, strict=True)
        )
        return for_x, for_gate_up, for_down, None, for_gates, None


def _parts(where: Sorted, most: int, number: int = 0) -> list[Part]:
    """All rows at once, or rounds of at most `most` of each expert; `number` where it is known."""
    sizes_E, starts_E, A = where.sizes, where.starts, len(where.order)
    if not most or not A:
        return [Part(sizes=sizes_E, far=starts_E, near=starts_E, ends=where.ends, room=A)]
    number = number or -(-int(sizes_E.max()) // most)  # the one number that is read, once a layer
    room = min(A, len(sizes_E) * most)
    at_P = torch.arange(room, dtype=torch.int32, device=sizes_E.device)
    parts = []
    for index in range(number):
        some_E = (sizes_E - index * most).clamp(0, most)
        ends_E = some_E.cumsum(0, dtype=torch.int32)
        near_E, far_E = ends_E - some_E, starts_E + index * most
        expert_P = torch.searchsorted(ends_E, at_P, right=True).clamp(max=len(sizes_E) - 1)
        row_P = torch.where(at_P < ends_E[-1], at_P + (far_E - near_E)[expert_P], -1)
        parts.append(Part(sizes=some_E, far=far_E, near=near_E, ends=ends_E, room=room, rows=row_P))
    return parts


class Taken(NamedTuple):
    """Rows, and where those of each expert lie in the tensor."""

    tensor: Tensor
    rows: Rows


def _taken(tensor_NW: Tensor, where: Sorted, part: Part, how: How) -> Taken:
    """A part's rows of a tensor of tokens: together where torch multiplies, else where they lie."""
    each = where.places.shape[1]
    if _is_torch_s(how, part, tensor_NW.shape[1]):
        token_A = where.order.div(each, rounding_mode="floor")
        return Taken(tensor_NW.index_select(0, token_A), Rows(starts=part.near))
    return Taken(tensor_NW, Rows(starts=part.far, order=where.order, each=each))


def _products(
    left: Taken, weight_EVD: Tensor, part: Part, how: How, rounds_AV: Tensor | None = None
) -> Tensor:
    """[P, V] rows times their experts' matrices; a round writes into `rounds_AV` if given."""
    tensor, rows = left
    if rounds_AV is not None:
        return grouped(tensor, rows, weight_EVD, part.sizes, rounds_AV, part.far)
    if rows.order is None and _is_torch_s(how, part, *weight_EVD.shape[1:]):
        return F.grouped_mm(tensor, weight_EVD.transpose(1, 2), offs=part.ends)
    out_PV = tensor.new_empty(part.room, weight_EVD.shape[1])
    return grouped(tensor, rows, weight_EVD, part.sizes, out_PV, part.near)


def _gradient(
    left: Taken,
    right: Taken,
    part: Part,
    dtype: torch.dtype,
    how: How,
    so_far: Tensor | None,
) -> Tensor:
    """[E, V, W] left^T right of each expert, added to what former rounds gave.

    The sums over tokens are float32. Torch's product rounds them to bfloat16, so it is taken for
    weights of that type alone.
    """
    sizes = left.tensor.shape[1], right.tensor.shape[1]
    together = left.rows.order is None and right.rows.order is None
    if dtype == torch.bfloat16 and together and _is_torch_s(how, part, *sizes):
        grad_EVW = F.grouped_mm(left.tensor.t(), right.tensor, offs=part.ends)
        return zeroed(grad_EVW, part.sizes)  # torch promises nothing of a group without rows
    adds = so_far is not None
    if so_far is None:
        kept = torch.float32 if how.most else dtype
        so_far = torch.empty(len(part.sizes), *sizes, dtype=kept, device=part.sizes.device)
    return outer(left.tensor, left.rows, right.tensor, right.rows, part.sizes, so_far, adds=adds)


def _is_torch_s(how: How, part: Part, *widths: int) -> bool:
    """Whether torch's grouped product does it: all rows, of whole lines of memory, on tensor cores.

    Below Hopper, and for other types of number, torch's makes the host wait.
    """
    device = part.sizes.device
    return (
        how.library
        and part.rows is None
        and device.type == "cuda"
        and how.dtype == torch.bfloat16
        and not any(width % 8 for width in widths)
        and torch.cuda.get_device_capability(device)[0] in (9, 10)
        and hasattr(F, "grouped_mm")
    )


def _activated(inner_PI: Tensor, part: Part) -> Tensor:
    """[P, I] silu(gate) * up of a part's rows."""
    P, both = inner_PI.shape
    hidden_PI = inner_PI.new_empty(P, both // 2)
    if hidden_PI.numel():
        _activate[(triton.cdiv(hidden_PI.numel(), BLOCK),)](
            inner_PI, hidden_PI, part.ends[-1:], both // 2, BLOCK=BLOCK, num_warps=4
        )
    return hidden_PI


def _activated_backward(
    inner_PI: Tensor,
    hidden_PI: Tensor,
    gates_NK: Tensor,
    grad_gates_NK: Tensor,
    where: Sorted,
    part: Part,
) -> Tensor:
    """[P, 2 * I] the gradient of gate and up.

    Args:
        inner_PI: gate and up.
        hidden_PI: gradient of silu(gate) * up but for the token's gate; becomes silu(gate) * up
            times the token's gate.
        gates_NK: of each assignment; contiguous.
        grad_gates_NK: written at this part's assignments.
        where: which assignment each row is.
        part: of the rows.
    """
    P, width = hidden_PI.shape
    grad_PI = torch.empty_like(inner_PI)
    block = min(BLOCK, triton.next_power_of_2(width))
    if P:
        _activate_backward[(P,)](
            inner_PI, hidden_PI, grad_PI, gates_NK, grad_gates_NK,
            where.order, where.order if part.rows is None else part.rows, width,
            HAS_ROWS=part.rows is not None, BLOCK=block, num_warps=max(1, min(8, block // 256)),
            enable_fp_fusion=False,
        )  # fmt: skip
    return grad_PI


def _summed(row_AW: Tensor, places_NK: Tensor, gates_NK: Tensor | None) -> Tensor:
    """[N, W] float32: each token's K rows, times its gates, added one after another."""
    (N, K), W = places_NK.shape, row_AW.shape[1]
    out_NW = torch.empty((N, W), dtype=torch.float32, device=row_AW.device)
    block = min(BLOCK, triton.next_power_of_2(W))
    if out_NW.numel():
        _sum_places[(N, triton.cdiv(W, block))](
            row_AW, places_NK, row_AW if gates_NK is None else gates_NK.contiguous(), out_NW, W,
            K=K, HAS_GATES=gates_NK is not None, BLOCK=block,
            num_warps=max(1, min(8, block // 256)), enable_fp_fusion=False,
        )  # fmt: skip
    return out_NW


@triton.jit
def _activate(inner, hidden, num_rows, width, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    is_in = at < tl.load(num_rows).to(tl.int64) * width
    row, column = at // width, at % width
    gate_at = inner + row * 2 * width + column
    gate = tl.load(gate_at, is_in, other=0.0).to(tl.float32)
    up = tl.load(gate_at + width, is_in, other=0.0).to(tl.float32)
    value = gate * tl.sigmoid(gate) * up
    tl.store(hidden + at, value.to(hidden.dtype.element_ty), is_in)


@triton.jit
def _activate_backward(
    inner, hidden, grad_inner, gates, grad_gates, order, rows, width,
    HAS_ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    near = tl.program_id(0).to(tl.int64)
    row = near
    if HAS_ROWS:
        row = tl.load(rows + near).to(tl.int64)
        if row < 0:
            return
    assignment = tl.load(order + row)
    share = tl.load(gates + assignment).to(tl.float32)
    dots = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        is_in = column < width
        gate_at = near * 2 * width + column
        gate = tl.load(inner + gate_at, is_in, other=0.0).to(tl.float32)
        up = tl.load(inner + gate_at + width, is_in, other=0.0).to(tl.float32)
        hidden_at = hidden + near * width + column
        grad = tl.load(hidden_at, is_in, other=0.0).to(tl.float32)
        sigmoid = tl.sigmoid(gate)
        activated = gate * sigmoid
        dots += grad * (activated * up)
        tl.store(hidden_at, (share * (activated * up)).to(hidden.dtype.element_ty), is_in)
        grad *= share
        grad_gate = grad * up * (sigmoid + activated * (1.0 - sigmoid))
        tl.store(grad_inner + gate_at, grad_gate.to(grad_inner.dtype.element_ty), is_in)
        tl.store(
            grad_inner + gate_at + width,
            (grad * activated).to(grad_inner.dtype.element_ty),
            is_in,
        )
    tl.store(grad_gates + assignment, tl.sum(dots))


@triton.jit
def _sum_places(
    rows, places, gates, out, width, K: tl.constexpr, HAS_GATES: tl.constexpr, BLOCK: tl.constexpr
):
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_in = column < width
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for k in tl.static_range(K):
        place = tl.load(places + token * K + k).to(tl.int64)
        row = tl.load(rows + place * width + column, is_in, other=0.0).to(tl.float32)
        if HAS_GATES:
            row *= tl.load(gates + token * K + k).to(tl.float32)
        total += row
    tl.store(out + token * width + column, total, is_in)
