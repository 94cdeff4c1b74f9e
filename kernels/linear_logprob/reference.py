"""The definition: all logits, a log-softmax, the tokens' places. Its twins must give the same."""

from __future__ import annotations

import torch
from torch import Tensor

from munro.kernels.linear_logprob.call import Call


def linear_logprob(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    token_T: Tensor,
    kept: tuple[Tensor, Tensor] | None,
    call: Call,
) -> tuple[Tensor, Tensor | None]:
    """See `munro.kernels.linear_logprob`; the matrix's gradient always goes through autograd."""
    logit_TV = _rounded(hidden_TD, call) @ _rounded(weight_VD, call).T
    if call.scale.softcap:
        logit_TV = call.scale.softcap * torch.tanh(logit_TV / call.scale.softcap)
    logit_TV = logit_TV / call.scale.temperature
    if kept is not None:
        logit_TV = logit_TV.masked_fill(~allowed(logit_TV, *kept), float("-inf"))
    logp_TV = logit_TV.log_softmax(-1)
    logp_T = logp_TV.gather(-1, token_T[:, None])[:, 0]
    if not call.entropy:
        return logp_T, None
    # what may not be sampled has no share, and its -inf no derivative
    finite_TV = logp_TV.masked_fill(logp_TV.isneginf(), 0.0)
    return logp_T, -(logp_TV.exp() * finite_TV).sum(-1)


def allowed(logit_TV: Tensor, ids_M: Tensor, starts: Tensor) -> Tensor:
    """[T, V] whether a token may be sampled; all where a position keeps none."""
    count_T = starts.diff().to(logit_TV.device)
    owner_M = torch.arange(len(count_T), device=count_T.device).repeat_interleave(
        count_T, output_size=len(ids_M)
    )
    allowed_TV = (count_T == 0)[:, None].expand(logit_TV.shape).clone()
    allowed_TV[owner_M, ids_M.to(logit_TV.device)] = True
    return allowed_TV


def _rounded(operand: Tensor, call: Call) -> Tensor:
    """As it is multiplied; the rounding has a derivative of 1."""
    exact = operand.to(call.precision.exact)
    with torch.no_grad():
        off = operand.to(call.precision.operand).to(exact.dtype) - exact
    return exact + off
