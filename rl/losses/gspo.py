"""GSPO: one ratio for a whole sequence, the geometric mean of its tokens'.

Group Sequence Policy Optimization, arXiv:2507.18071. A sequence counts once, however
long it is, and is clipped as a whole; useful bounds are far nearer to 1 than a token's (the paper's
are 3e-4 below and 4e-4 above: `clip.eps = 3e-4`, `clip.widening_max` small).

Shape suffixes: T = tokens, several trajectories end to end; S = trajectories, room for T of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from munro.rl.clip import Clip
from munro.rl.loss import MAX_LOG_RATIO


def gspo(
    logp_T: Tensor,
    behaviour_logp_T: Tensor,
    advantage_T: Tensor,
    sampled_T: Tensor,
    *,
    clip: Clip,
    num_global_tokens: int,  # noqa: ARG001 - sequences are what it averages over
    sequence_T: Tensor,
    num_global_sequences: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """-min(s A, clamp(s, low, high) A), averaged over every sequence of the global batch.

    s = exp of the mean of log r over a sequence's sampled tokens. `clip.outer` is not used.

    Args:
        sequence_T: [T] int64, which sequence a token is of: any numbers from 0 to T - 1.
        num_global_sequences: of the batch, over all ranks and micro-batches.

    The other arguments, and what is returned, are as of `munro.rl.loss.policy_loss`; "clip/low" and
    "clip/high" count tokens of sequences that lost their gradient.
    """
    log_ratio_T = torch.where(sampled_T, logp_T - behaviour_logp_T, 0.0)
    length_S = _by_sequence(sampled_T.to(log_ratio_T.dtype), sequence_T)
    mean_S = _by_sequence(log_ratio_T, sequence_T) / length_S.clamp(min=1)
    # the same for all of a sequence's tokens; the others, of whatever worth, must not count
    known_T = torch.where(sampled_T, advantage_T.to(mean_S.dtype), float("-inf"))
    advantage_S = torch.full_like(mean_S, float("-inf")).scatter_reduce(
        0, sequence_T, known_T, "amax"
    )
    advantage_S = torch.where(advantage_S.isinf(), 0.0, advantage_S)
    ratio_S = mean_S.clamp(max=MAX_LOG_RATIO).exp()
    trusted_S = ratio_S.clamp(clip.low, clip.high)
    surrogate_S = torch.minimum(ratio_S * advantage_S, trusted_S * advantage_S)
    loss = -surrogate_S.sum() / num_global_sequences
    with torch.no_grad():
        is_low_S = (ratio_S < clip.low) & (advantage_S < 0)
        is_high_S = (ratio_S > clip.high) & (advantage_S > 0)
        metrics = {
            "clip/low": (is_low_S * length_S).sum(),
            "clip/high": (is_high_S * length_S).sum(),
            "clip/outer": torch.zeros_like(loss),
        }
    return loss, metrics


def _by_sequence(value_T: Tensor, sequence_T: Tensor) -> Tensor:
    return torch.zeros_like(value_T).index_add(0, sequence_T, value_T)
