"""CISPO: every token keeps its gradient, weighed by its clipped ratio.

MiniMax-M1, arXiv:2506.13585, section 3.1. A clip of the surrogate takes the gradient away from
tokens whose ratio left the bounds, rare and decisive ones among them; here the bound is on their
weight. The paper sets no lower bound: `clip.eps` near 1 comes to that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from munro.rl.clip import Clip
from munro.rl.loss import MAX_LOG_RATIO


def cispo(
    logp_T: Tensor,
    behaviour_logp_T: Tensor,
    advantage_T: Tensor,
    sampled_T: Tensor,
    *,
    clip: Clip,
    num_global_tokens: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """-(sg(clamp(r, low, high)) A log p), averaged over every sampled token of the global batch.

    Arguments and returns are those of `munro.rl.loss.policy_loss`; "clip/low" and "clip/high" count
    tokens whose weight was bounded.
    """
    logp_T, behaviour_logp_T, advantage_T = (
        torch.where(sampled_T, x_T, 0.0) for x_T in (logp_T, behaviour_logp_T, advantage_T)
    )
    ratio_T = (logp_T.detach() - behaviour_logp_T).clamp(max=MAX_LOG_RATIO).exp()
    weight_T = ratio_T.clamp(clip.low, clip.high)
    loss = -(weight_T * advantage_T * logp_T).sum() / num_global_tokens
    return loss, {
        "clip/low": (sampled_T & (ratio_T < clip.low)).sum(),
        "clip/high": (sampled_T & (ratio_T > clip.high)).sum(),
        "clip/outer": torch.zeros_like(sampled_T).sum(),
    }
