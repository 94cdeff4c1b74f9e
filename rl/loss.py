"""The policy-gradient objective (MAI-Thinking-1 report, section 3.1, Eqs. 5 to 9).

Shape suffixes: T = sampled or unsampled tokens, several trajectories end to end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from munro.rl.clip import Clip

# exp(80) is finite in float32 and so is a sum of thousands of them; far above any outer bound
MAX_LOG_RATIO = 80.0


def policy_loss(
    logp_T: Tensor,
    behaviour_logp_T: Tensor,
    advantage_T: Tensor,
    sampled_T: Tensor,
    *,
    clip: Clip,
    num_global_tokens: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate, averaged over every sampled token of the global batch.

    With r = exp(logp - behaviour_logp), the objective of a token is min(r_out A, r_tr A), where
    r_out = clamp(r, 0, outer) and r_tr = clamp(r, low, high). A token whose minimum is taken on a
    bound gives no gradient. The report states r_out and r_tr apart; the fusion is ours.

    Args:
        logp_T: [T] float, log-probability under the weights being trained; carries the gradient.
        behaviour_logp_T: [T] float, as recorded by the inference engine.
        advantage_T: [T] float, one value repeated over its whole trajectory.
        sampled_T: [T] bool, True on tokens the policy chose; the others may hold anything.
        clip: trust-region and outer bounds for this step.
        num_global_tokens: sampled tokens in the batch over all ranks and micro-batches, so that
            summing the returned losses over ranks weighs each token the same.

    Returns:
        The scalar loss, and metrics without gradient. Each is a sum over sampled tokens (add them
        over ranks, then divide by the tokens), but for names ending in "/max", which merge by max:
        "policy/entropy" weighs -log p by r, as the report prints it (Eq. 7);
        "policy/entropy_clipped" weighs it by r_out;
        "policy/mismatch_kl" is the k3 estimate of KL(engine || learner);
        "policy/logp_diff" is |log r|; "clip/low", "clip/high" and "clip/outer" count tokens whose
        gradient that bound removed (see `_bites`); "ratio/max" is the largest r.
    """
    # zero off the sampled tokens, where a -inf (outside the nucleus) would make every sum NaN
    logp_T, behaviour_logp_T, advantage_T = (
        torch.where(sampled_T, x_T, 0.0) for x_T in (logp_T, behaviour_logp_T, advantage_T)
    )
    ratio_T = (logp_T - behaviour_logp_T).clamp(max=MAX_LOG_RATIO).exp()

    bounded_T = ratio_T.clamp(0.0, clip.outer)
    trusted_T = ratio_T.clamp(clip.low, clip.high)
    surrogate_T = torch.minimum(bounded_T * advantage_T, trusted_T * advantage_T)
    loss = -surrogate_T.sum() / num_global_tokens

    return loss, measured(logp_T, behaviour_logp_T, advantage_T, sampled_T, clip=clip)


MEASURED = frozenset(
    {
        *("learner/tokens", "policy/entropy", "policy/entropy_clipped", "policy/mismatch_kl"),
        *("policy/logp_diff", "ratio/max", "clip/low", "clip/high", "clip/outer"),
    }
)
"""What every step reports, whatever its loss."""


@torch.no_grad()
def measured(
    logp_T: Tensor,
    behaviour_logp_T: Tensor,
    advantage_T: Tensor,
    sampled_T: Tensor,
    *,
    clip: Clip,
) -> dict[str, Tensor]:
    """The metrics of `policy_loss`, for a step of any loss."""
    logp_T, behaviour_logp_T, advantage_T = (
        torch.where(sampled_T, x_T, 0.0) for x_T in (logp_T, behaviour_logp_T, advantage_T)
    )
    log_ratio_T = (logp_T - behaviour_logp_T).clamp(max=MAX_LOG_RATIO)
    ratio_T = log_ratio_T.exp()
    bounded_T = ratio_T.clamp(0.0, clip.outer)
    # the sign is enough to tell the branches apart, and no product of it can underflow
    side_T = advantage_T.sign()
    trusted_T = ratio_T.clamp(clip.low, clip.high)
    return {
        "learner/tokens": sampled_T.sum(),
        "policy/entropy": (-logp_T * ratio_T).sum(),
        "policy/entropy_clipped": (-logp_T * bounded_T).sum(),
        "policy/mismatch_kl": (ratio_T - 1 - log_ratio_T).sum(),
        "policy/logp_diff": log_ratio_T.abs().sum(),
        "ratio/max": torch.where(sampled_T, ratio_T, 0.0).amax()
        if len(ratio_T)
        else torch.zeros(()),
        **_bites(ratio_T, bounded_T * side_T, trusted_T * side_T, clip),
    }


def _bites(
    ratio_T: Tensor, outer_branch_T: Tensor, trust_branch_T: Tensor, clip: Clip
) -> dict[str, Tensor]:
    """How many tokens lost their gradient to each bound: those whose minimum lies on it.

    With an outer bound beyond the trust region that is: low, A < 0 and r < low; high, A > 0 and
    r > high; outer, A < 0 and r > outer. A ratio beyond a bound on the side where the objective
    does not mind it is not counted.
    """
    trusts_T = trust_branch_T < outer_branch_T
    beyond_T = ~trusts_T & (ratio_T > clip.outer) & (outer_branch_T != 0)
    return {
        "clip/low": (trusts_T & (ratio_T < clip.low)).sum(),
        "clip/high": (trusts_T & (ratio_T > clip.high)).sum(),
        "clip/outer": beyond_T.sum(),
    }
