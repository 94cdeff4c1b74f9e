"""The definition: all logits, those outside the nucleus forbidden. Its twins must give the same."""

from __future__ import annotations

import torch
from torch import Tensor

from munro.kernels.nucleus_logprob.call import Call
from munro.kernels.nucleus_logprob.layout import Plan


def nucleus_logprob(
    hidden_TD: Tensor, weight_VD: Tensor, token_T: Tensor, plan: Plan, call: Call
) -> Tensor:
    """See `munro.kernels.nucleus_logprob`; the matrix's gradient always goes through autograd."""
    precision = call.precision
    hidden_TD = hidden_TD.to(precision.operand).to(precision.exact)
    weight_VD = weight_VD.to(precision.operand).to(precision.exact)
    logit_TV = hidden_TD @ weight_VD.T
    if call.scale.softcap:
        logit_TV = call.scale.softcap * torch.tanh(logit_TV / call.scale.softcap)
    logit_TV = logit_TV / call.scale.temperature
    forbidden_TV = torch.ones_like(logit_TV, dtype=torch.bool)
    forbidden_TV[plan.owner, plan.ids] = False
    logp_TV = logit_TV.masked_fill(forbidden_TV, float("-inf")).log_softmax(-1)
    return logp_TV.gather(-1, token_T[:, None])[:, 0]
