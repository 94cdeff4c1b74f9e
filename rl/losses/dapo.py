"""DAPO: the surrogate clipped between two bounds of their own, each token of the batch alike.

Yu et al., arXiv:2503.14476: "clip higher" and a mean over all tokens, not of each response first.
The paper's bounds are `clip.eps = 0.2` and `clip.eps_high = 0.28`, with `clip.widening_max = 0`;
its dynamic sampling is what the gates on pass rates do (`rollout.pass_rate`), and its overlong
shaping is part of the reward (`rewards.length_form = "overlong"`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from munro.rl.clip import Clip
from munro.rl.loss import MAX_LOG_RATIO


def dapo(
    logp_T: Tensor,
    behaviour_logp_T: Tensor,
    advantage_T: Tensor,
    sampled_T: Tensor,
    *,
    clip: Clip,
    num_global_tokens: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """-min(r A, clamp(r, low, high) A), averaged over every sampled token of the global batch.

    `clip.outer` is not used: a token of negative advantage whose ratio grew is not bounded.

    Arguments and returns are those of `munro.rl.loss.policy_loss`; "clip/low" and "clip/high" count
    tokens that lost their gradient.
    """
    surrogate_T, ratio_T, advantage_T = clipped(
        logp_T, behaviour_logp_T, advantage_T, sampled_T, clip=clip
    )
    return -surrogate_T.sum() / num_global_tokens, bites(ratio_T, advantage_T, clip)


def clipped(
    logp_T: Tensor,
    behaviour_logp_T: Tensor,
    advantage_T: Tensor,
    sampled_T: Tensor,
    *,
    clip: Clip,
) -> tuple[Tensor, Tensor, Tensor]:
    """[T] each: the surrogate, the ratio, and the advantage, 0, 1 and 0 where nobody sampled."""
    logp_T, behaviour_logp_T, advantage_T = (
        torch.where(sampled_T, x_T, 0.0) for x_T in (logp_T, behaviour_logp_T, advantage_T)
    )
    ratio_T = (logp_T - behaviour_logp_T).clamp(max=MAX_LOG_RATIO).exp()
    trusted_T = ratio_T.clamp(clip.low, clip.high)
    return torch.minimum(ratio_T * advantage_T, trusted_T * advantage_T), ratio_T, advantage_T


@torch.no_grad()
def bites(ratio_T: Tensor, advantage_T: Tensor, clip: Clip) -> dict[str, Tensor]:
    """How many tokens lost their gradient to each bound."""
    return {
        "clip/low": ((ratio_T < clip.low) & (advantage_T < 0)).sum(),
        "clip/high": ((ratio_T > clip.high) & (advantage_T > 0)).sum(),
        "clip/outer": torch.zeros_like(ratio_T).sum(),
    }
