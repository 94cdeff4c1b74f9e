"""Other people's ways from hidden states to log-probabilities; each is imported when it is called.

Each takes hidden states (T, D), the output matrix (V, D), tokens (T,) and a weight of each token's
log-probability in the loss (T,), runs forward and backward, and returns the log-probabilities.
"""

from __future__ import annotations

import contextlib
import sys
import types
from typing import Any

import torch
from torch import Tensor


def logits(hidden: Tensor, weight: Tensor, token: Tensor, share: Tensor) -> Tensor:
    """All logits at once, as autocast makes them."""
    with torch.autocast(hidden.device.type, torch.bfloat16):
        raw = torch.nn.functional.linear(hidden, weight)
    logp = raw.float().log_softmax(-1).gather(-1, token[:, None])[:, 0]
    (logp * share).sum().backward()  # type: ignore[no-untyped-call]
    return logp


def trl(hidden: Tensor, weight: Tensor, token: Tensor, share: Tensor) -> Tensor:
    """TRL's chunked log-probabilities."""
    if "trl.trainer.utils" not in sys.modules:
        # its backward pass wants one helper of a module that wants half of the package index
        stub: Any = types.ModuleType("trl.trainer.utils")
        stub.maybe_gather_lm_head_ctx = lambda *_: contextlib.nullcontext()
        parent: Any = types.ModuleType("trl.trainer")
        parent.__path__ = []
        sys.modules["trl.trainer"], sys.modules["trl.trainer.utils"] = parent, stub
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction

    given = (hidden, weight, None, token, 1.0, 32_768, None, 1.0, ())
    logp: Tensor = ChunkedLogProbFunction.apply(*given)[0]
    (logp * share).sum().backward()  # type: ignore[no-untyped-call]
    return logp


def liger_ppo(hidden: Tensor, weight: Tensor, token: Tensor, share: Tensor) -> Tensor:
    """Liger's scaled cross entropy, the way that it takes without its Hopper toolkit."""
    from liger_kernel.ops import fused_linear_scaled_cross_entropy as ops

    found = ops._FusedLinearPPOFallbackFunction.apply(hidden, weight, token, 1.0, -100, False)
    nll: Tensor = found[0] if isinstance(found, tuple) else found
    (nll * -share).sum().backward()  # type: ignore[no-untyped-call]
    return -nll


def liger_mean(hidden: Tensor, weight: Tensor, token: Tensor, share: Tensor) -> None:  # noqa: ARG001
    """Liger's fused linear cross entropy: one mean, no weight of a token, so less work."""
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

    found: Any = LigerFusedLinearCrossEntropyFunction.apply(hidden, weight, token)
    (found[0] if isinstance(found, tuple) else found).backward()


def apple(
    hidden: Tensor,
    weight: Tensor,
    token: Tensor,
    share: Tensor,
    *,
    filter_eps: str | None,
    impl: str,
) -> Tensor:
    """Apple's cut cross entropy; `filter_eps` "auto" leaves out what bfloat16 would not show."""
    from cut_cross_entropy import linear_cross_entropy

    nll: Tensor = linear_cross_entropy(
        hidden, weight, token, reduction="none", filter_eps=filter_eps, impl=impl
    )
    (nll * -share).sum().backward()  # type: ignore[no-untyped-call]
    return -nll
