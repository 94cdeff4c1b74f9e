"""Log-probability of tokens under the softmax over their nuclei alone: no logit of any other token.

Where the sampler recorded from which candidates it drew, a few rows of the output matrix a position
are all that its log-probability needs (MAI-Thinking-1 report, section 3.1.3).

    layout.py      what the host works out beforehand: candidates by position and by id
    reference.py   the definition
    gathered.py    torch operators: any device
    fused.py       NVIDIA's GPUs: one program a position, one a distinct id; no atomics

Nothing that any of them decides depends on what a device has computed: no call waits for one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from munro.kernels.dispatch import twin
from munro.kernels.gradient import adds
from munro.kernels.nucleus_logprob import gathered, reference
from munro.kernels.nucleus_logprob.call import Call
from munro.kernels.nucleus_logprob.layout import Plan
from munro.kernels.precision import named
from munro.kernels.scale import Scale

TWINS = ("reference", "plain", "fused")


def nucleus_logprob(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    token_T: Tensor,
    plan: Plan,
    *,
    scale: Scale = Scale(),  # noqa: B008 (a frozen value)
    grad_weight: str = "return",
) -> Tensor:
    """Log-probability of each token under the softmax over its nucleus.

    Args:
        hidden_TD: [T, D] what the output matrix is applied to.
        weight_VD: [V, D] the output matrix; no bias.
        token_T: [T] int64.
        plan: the nuclei, on the device of the others.
        scale: temperature and soft cap.
        grad_weight: "return", or "add": the rows that occur straight into `weight_VD.grad`, with no
            pass over a matrix of that size; then a leaf in float32 that is not sharded.

    Returns:
        [T] float32 (float64 of float64), with gradient to `hidden_TD` and `weight_VD`. Under
        autocast what is multiplied is in its precision, and nothing else; the backward pass
        multiplies the same, wherever it runs.

    Raises:
        ValueError: `weight_VD.grad` cannot be added to, or `grad_weight` is neither word.
    """
    precision = named("operand", hidden_TD)
    call = Call(scale=scale, precision=precision, adds=adds(grad_weight, weight_VD))
    which = twin("nucleus_logprob", hidden_TD.device, TWINS)
    if which == "fused" and precision.operand.itemsize == 8:
        which = "plain"  # float64 is for proofs, and the fused one is float32's
    with torch.autocast(hidden_TD.device.type, enabled=False):
        if which == "reference":
            return reference.nucleus_logprob(hidden_TD, weight_VD, token_T, plan, call)
        if which == "fused":
            from munro.kernels.nucleus_logprob import fused

            return fused.nucleus_logprob(hidden_TD, weight_VD, token_T, plan, call)
        return gathered.nucleus_logprob(hidden_TD, weight_VD, token_T, plan, call)
