"""Torch operators alone, some thousand candidates' rows at a time: for any device.

    forward    rows of hidden states and of the matrix -> a dot product a candidate -> softmax
    backward   the same rows, weighted, added up by position and by id

The matrix's gradient is made for the rows that occur alone. On a GPU the sums are not in a fixed
order, unless torch is told to use deterministic algorithms.

Shape suffixes: T = positions, D = model width, V = vocabulary, M = candidates of all positions
together, m = those of one turn, U = distinct ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from munro.kernels.gradient import dtype_of, grad_of
from munro.kernels.nucleus_logprob.call import Call
from munro.kernels.nucleus_logprob.layout import Plan

GATHER_TILE = 4096


def nucleus_logprob(
    hidden_TD: Tensor, weight_VD: Tensor, token_T: Tensor, plan: Plan, call: Call
) -> Tensor:
    """See `munro.kernels.nucleus_logprob`."""
    logp_T: Tensor = _Gathered.apply(hidden_TD, weight_VD, token_T, plan, call)  # type: ignore[no-untyped-call]
    return logp_T


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_TD: Tensor, weight_VD: Tensor, token_T: Tensor, plan: Plan, call: Call
    ) -> Tensor:
        rows_of = _Rows(hidden_TD, weight_VD, plan, call)
        ids_M, owner_M = rows_of.ids, rows_of.owner
        logit_M = hidden_TD.new_empty(len(ids_M), dtype=call.precision.exact)
        for part in _turns(len(ids_M)):
            logit_M[part] = (rows_of.weight(part) * rows_of.hidden(part)).sum(-1)
        logit_M = call.scale.apply(logit_M)
        top_T = logit_M.new_full((len(token_T),), float("-inf"))
        top_T = top_T.scatter_reduce(0, owner_M, logit_M, "amax")
        total_T = torch.zeros_like(top_T).index_add(0, owner_M, (logit_M - top_T[owner_M]).exp())
        logp_M = logit_M - (top_T + total_T.log())[owner_M]
        is_token_M = ids_M == token_T[owner_M]
        ctx.save_for_backward(hidden_TD, weight_VD, logit_M, logp_M, is_token_M)
        ctx.plan, ctx.call = plan, call
        return torch.zeros_like(top_T).index_add(0, owner_M, torch.where(is_token_M, logp_M, 0.0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T: Tensor) -> tuple[Tensor | None, ...]:
        hidden_TD, weight_VD, logit_M, logp_M, is_token_M = ctx.saved_tensors
        plan, call, exact = ctx.plan, ctx.call, ctx.call.precision.exact
        rows_of = _Rows(hidden_TD, weight_VD, plan, call)
        rank_M = plan.rank.long()
        slope_M = (is_token_M.to(exact) - logp_M.exp()) * call.scale.slope(logit_M)
        grad_M = grad_T.to(exact)[rows_of.owner] * slope_M
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.zeros_like(hidden_TD, dtype=exact) if wants_hidden else None
        size = (len(plan.distinct), weight_VD.shape[1])
        grad_UD = weight_VD.new_zeros(size, dtype=exact) if wants_weight else None
        for part in _turns(len(grad_M)):
            grad_m1 = grad_M[part, None]
            if grad_hidden is not None:
                grad_hidden.index_add_(0, rows_of.owner[part], rows_of.weight(part) * grad_m1)
            if grad_UD is not None:
                grad_UD.index_add_(0, rank_M[part], rows_of.hidden(part) * grad_m1)
        return (
            None if grad_hidden is None else grad_hidden.to(hidden_TD.dtype),
            None if grad_UD is None else _given(grad_UD, weight_VD, plan, call),
            *(None,) * 3,
        )


class _Rows:
    """What a turn multiplies, in the precision of operands, for exact products."""

    def __init__(self, hidden_TD: Tensor, weight_VD: Tensor, plan: Plan, call: Call) -> None:
        self.ids, self.owner = plan.ids.long(), plan.owner.long()
        self._hidden, self._weight, self._precision = hidden_TD, weight_VD, call.precision

    def hidden(self, part: slice) -> Tensor:
        """[m, D]"""
        return self._exactly(self._hidden[self.owner[part]])

    def weight(self, part: slice) -> Tensor:
        """[m, D]"""
        return self._exactly(self._weight[self.ids[part]])

    def _exactly(self, rows_mD: Tensor) -> Tensor:
        return rows_mD.to(self._precision.operand).to(self._precision.exact)


def _given(grad_UD: Tensor, weight_VD: Tensor, plan: Plan, call: Call) -> Tensor | None:
    """What autograd is told of the matrix's gradient, unless it is added here."""
    distinct_U = plan.distinct.long()
    if call.adds:
        total_VD = grad_of(weight_VD)
        total_VD.index_add_(0, distinct_U, grad_UD.to(total_VD.dtype))
        return None
    grad_VD = torch.zeros_like(weight_VD, dtype=dtype_of(weight_VD))
    return grad_VD.index_copy_(0, distinct_U, grad_UD.to(grad_VD.dtype))


def _turns(size: int) -> Iterator[slice]:
    for start in range(0, size, GATHER_TILE):
        yield slice(start, min(start + GATHER_TILE, size))
