"""Dr. GRPO: what an attempt earned above its group's mean, not divided by the deviation.

Understanding R1-Zero-Like Training, arXiv:2503.20783: the division makes tasks that are nearly
always or nearly never solved weigh more than others. (Its other half, no division by a response's
length, is the loss's business; ours averages over the tokens of the whole batch.)
"""

from __future__ import annotations

from statistics import fmean

from munro.rl.advantage import finite_rewards
from munro.rollout.types import Group


def dr_grpo(group: Group) -> list[float]:
    """A_i = R_i - mean R, in the order of `group.attempts`; zeros where all agree.

    Raises:
        ValueError: a reward is not finite.
    """
    rewards = finite_rewards(group)
    if min(rewards) == max(rewards):
        return [0.0] * len(rewards)
    mean = fmean(rewards)
    return [reward - mean for reward in rewards]
