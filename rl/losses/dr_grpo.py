"""Dr. GRPO: PPO's surrogate, a sequence's sum divided by a constant, not by any length.

Understanding R1-Zero-Like Training, arXiv:2503.20783. A mean over a response's own tokens makes
long wrong answers cheap, and one over the batch's tokens makes a step's size depend on how long its
responses are; a constant (`learner.tokens_per_sequence`) does neither. The paper's advantage goes
with it: `learner.advantage = "dr_grpo"`.
"""

from __future__ import annotations

from torch import Tensor

from munro.rl.clip import Clip
from munro.rl.losses.dapo import bites, clipped


def dr_grpo(
    logp_T: Tensor,
    behaviour_logp_T: Tensor,
    advantage_T: Tensor,
    sampled_T: Tensor,
    *,
    clip: Clip,
    num_global_tokens: int,  # noqa: ARG001 - it divides by no count of tokens
    num_global_sequences: int,
    tokens_per_sequence: int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """-sum of min(r A, clamp(r, low, high) A) / (sequences x tokens_per_sequence).

    `clip.outer` is not used.

    Args:
        num_global_sequences: of the batch, over all ranks and micro-batches.
        tokens_per_sequence: the constant.

    The other arguments, and what is returned, are as of `munro.rl.loss.policy_loss`; "clip/low" and
    "clip/high" count tokens that lost their gradient.
    """
    surrogate_T, ratio_T, advantage_T = clipped(
        logp_T, behaviour_logp_T, advantage_T, sampled_T, clip=clip
    )
    loss = -surrogate_T.sum() / (num_global_sequences * tokens_per_sequence)
    return loss, bites(ratio_T, advantage_T, clip)
