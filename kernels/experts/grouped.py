"""Routing and experts in plain torch: expert by expert, so that its rows stay in the cache.

    ids ──► sorted by expert ──► [rows of one expert ──► gate, up ──► silu * up ──► down] x E
                                                                       sum over a token's K places

No product is copied together and no gradient is stacked: each writes its rows of what is returned.
On a GPU this is the twin to compare with; it reads the groups' sizes once a layer there.

Shape letters: N = tokens, W = width the experts work in, I = an expert's inner width, E = experts,
K = experts a token goes to, A = N * K assignments, sorted by expert.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from munro.kernels import pages
from munro.kernels.experts.reference import gated, wide


def route(logits_NE: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The `top_k` largest of each row, ties to the lower index, and how often each was chosen.

    One pass over the scores for each of the few that are wanted is cheaper than sorting them all.
    """
    left_NE = logits_NE.detach().clamp(min=torch.finfo(logits_NE.dtype).min)
    chosen: list[Tensor] = []
    for _ in range(top_k):
        best_N1 = left_NE.argmax(-1, keepdim=True)  # of equal ones the first
        left_NE.scatter_(1, best_N1, -torch.inf)
        chosen.append(best_N1)
    ids_NK = torch.cat(chosen, dim=1)
    return ids_NK, count(ids_NK, logits_NE.shape[-1])


def count(ids_NK: Tensor, num_experts: int, counted_N: Tensor | None = None) -> Tensor:
    """[E] int64 assignments to each expert, of the tokens that count: one sum over all of them."""
    if counted_N is not None:
        ids_NK = torch.where(counted_N[:, None], ids_NK, num_experts)
    counts = ids_NK.new_zeros(num_experts + 1)
    ids_A = ids_NK.flatten()
    return counts.scatter_add_(0, ids_A, torch.ones_like(ids_A))[:num_experts]


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
    how = _How(dtype, round_tokens, torch.is_grad_enabled())
    out: Tensor = _PerExpert.apply(  # type: ignore[no-untyped-call]
        x_NW, gate_up_EIW, down_EWI, ids_NK, gates_NK, how
    )
    return out


class _How(NamedTuple):
    dtype: torch.dtype
    """Of the products' operands."""
    most: int
    """Rows of one expert that are computed at once; 0 for no limit."""
    learns: bool
    """A backward pass may come."""


class _PerExpert(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_NW: Tensor,
        gate_up_EIW: Tensor,
        down_EWI: Tensor,
        ids_NK: Tensor,
        gates_NK: Tensor,
        how: _How,
    ) -> Tensor:
        order_A = ids_NK.flatten().argsort(stable=True)
        token_A = order_A.div(ids_NK.shape[1], rounding_mode="floor")
        sizes = count(ids_NK, len(gate_up_EIW)).tolist()
        x = x_NW.to(how.dtype)
        answer_AW = pages.empty((len(order_A), down_EWI.shape[1]), x)
        # rounds bound the memory of what is inside an expert: then it is computed twice
        keeps = how.learns and not how.most
        inner_AI = pages.empty((len(order_A), gate_up_EIW.shape[1]), x) if keeps else None
        numbers, of = _pieces(sizes, how.most)
        inners: Sequence[Tensor | None] = (
            [None] * len(numbers) if inner_AI is None else _split(inner_AI, of)
        )
        weights = gate_up_EIW.unbind(), down_EWI.unbind()
        for expert, token, inner, answer in zip(
            numbers, _split(token_A, of), inners, _split(answer_AW, of), strict=True
        ):
            gate_up, down = (weight[expert].to(how.dtype) for weight in weights)
            inner = torch.mm(x.index_select(0, token), gate_up.t(), out=inner)
            torch.mm(gated(inner), down.t(), out=answer)
        if how.learns:
            ctx.how, ctx.sizes = how, sizes
            kept = (x_NW, gate_up_EIW, down_EWI, gates_NK, order_A, token_A, answer_AW)
            ctx.save_for_backward(*kept, *(() if inner_AI is None else (inner_AI,)))
        answer_NKW = answer_AW[_inverse(order_A).view(ids_NK.shape)]
        return (answer_NKW.to(wide(how.dtype)) * gates_NK[..., None]).sum(1)

    @staticmethod
    def backward(ctx: Any, grad_NW: Tensor) -> Any:
        x_NW, gate_up_EIW, down_EWI, gates_NK, order_A, token_A, answer_AW, *inner = (
            ctx.saved_tensors
        )
        needs_x, needs_gate_up, needs_down, _, needs_gates, _ = ctx.needs_input_grad
        dtype, most = ctx.how.dtype, ctx.how.most
        x, gate_A = x_NW.to(dtype), gates_NK.flatten()[order_A]
        grad_gate_up = _gradient(gate_up_EIW, ctx.sizes, most) if needs_gate_up else None
        grad_down = _gradient(down_EWI, ctx.sizes, most) if needs_down else None
        grad_gate_A = torch.empty_like(gate_A)
        grad_row_AW = pages.empty(answer_AW.shape, answer_AW)
        experts, of = _pieces(ctx.sizes, most)
        inners = _split(inner[0], of) if inner else [None] * len(experts)
        weights = gate_up_EIW.unbind(), down_EWI.unbind()
        parts = (token_A, answer_AW, gate_A, grad_gate_A, grad_row_AW)
        before = -1
        for expert, inner_I, (token, answer, gate, grad_gate, grad_row) in zip(
            experts, inners, zip(*(_split(part, of) for part in parts), strict=True), strict=True
        ):
            gate_up, down = (weight[expert].to(dtype) for weight in weights)
            rows = x.index_select(0, token)
            inner_I = rows.mm(gate_up.t()) if inner_I is None else inner_I
            grad = grad_NW.index_select(0, token)
            torch.sum(grad * answer, -1, out=grad_gate)
            grad = (grad * gate[:, None]).to(dtype)
            grad_inner, hidden = _gated_backward(grad.mm(down), inner_I)
            adds = expert == before  # a further round of the same
            _add_product(grad_down, expert, grad, hidden, adds=adds)
            _add_product(grad_gate_up, expert, grad_inner, rows, adds=adds)
            torch.mm(grad_inner, gate_up, out=grad_row)
            before = expert
        # a token's places in their order among the rows: the order in which a loop would add them
        places_NK = _inverse(order_A).view(gates_NK.shape).sort(dim=1).values
        grad_x = _summed(grad_row_AW, places_NK).to(x_NW.dtype) if needs_x else None
        grad_gates = None
        if needs_gates:
            grad_gates = torch.empty_like(grad_gate_A).index_copy_(0, order_A, grad_gate_A)
            grad_gates = grad_gates.view(gates_NK.shape)
        return (
            grad_x,
            _like(grad_gate_up, gate_up_EIW),
            _like(grad_down, down_EWI),
            None,
            grad_gates,
            None,
        )


def _split(tensor: Tensor, lengths: list[int]) -> tuple[Tensor, ...]:
    """Views of so many rows each."""
    return tensor.split(lengths)  # type: ignore[no-untyped-call, no-any-return]


def _pieces(sizes: list[int], most: int) -> tuple[list[int], list[int]]:
    """All rows, expert by expert, at most `most` at once: whose they are, and how many."""
    experts, lengths = [], []
    for expert, size in enumerate(sizes):
        for start in range(0, size, most or size or 1):
            experts.append(expert)
            lengths.append(min(most or size, size - start))
    return experts, lengths


def _gradient(weight_EVW: Tensor, sizes: list[int], most: int) -> Tensor:
    """Room for a gradient that is summed over rounds, zero where an expert has no token."""
    dtype = wide(weight_EVW.dtype) if most else weight_EVW.dtype
    grad_EVW = pages.empty(weight_EVW.shape, weight_EVW, dtype)
    for expert, size in enumerate(sizes):
        if not size:
            grad_EVW[expert].zero_()
    return grad_EVW


def _add_product(
    grad_EVW: Tensor | None, expert: int, left: Tensor, right: Tensor, *, adds: bool
) -> None:
    """left^T right, into an expert's matrix; a product in bfloat16 rounds before it is added."""
    if grad_EVW is None:
        return
    grad = grad_EVW[expert]
    if adds:
        grad += left.t().mm(right)
    elif grad.dtype == left.dtype:
        torch.mm(left.t(), right, out=grad)
    else:
        grad.copy_(left.t().mm(right))


def _gated_backward(grad: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of `gated`'s argument, and its value."""
    gate, up = inner.chunk(2, dim=-1)
    activated = F.silu(gate)
    grad_inner = torch.empty_like(inner)
    grad_gate, grad_up = grad_inner.chunk(2, dim=-1)
    torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=grad_gate)
    torch.mul(grad, activated, out=grad_up)
    return grad_inner, activated * up


def _inverse(order_A: Tensor) -> Tensor:
    """Where each assignment lies among the sorted ones."""
    place_A = torch.empty_like(order_A)
    place_A[order_A] = torch.arange(len(order_A), device=order_A.device)
    return place_A


def _summed(row_AW: Tensor, places_NK: Tensor) -> Tensor:
    """[N, W] each token's K rows, added one after another."""
    return row_AW[places_NK].sum(1, dtype=wide(row_AW.dtype))


def _like(grad: Tensor | None, weight: Tensor) -> Tensor | None:
    return None if grad is None else grad.to(weight.dtype)
