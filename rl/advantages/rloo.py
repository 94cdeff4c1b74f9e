"""RLOO: what an attempt earned above the mean of the others, an unbiased baseline.

Kool, van Hoof and Welling, "Buy 4 REINFORCE Samples, Get a Baseline for Free!" (2019); for language
models Ahmadian et al., "Back to Basics", arXiv:2402.14740.
"""

from __future__ import annotations

from math import fsum

from munro.rl.advantage import finite_rewards
from munro.rollout.types import Group


def rloo(group: Group) -> list[float]:
    """A_i = R_i - mean of R_j over j != i, in the order of `group.attempts`; zeros where all agree.

    Raises:
        ValueError: a reward is not finite.
    """
    rewards = finite_rewards(group)
    if min(rewards) == max(rewards):
        return [0.0] * len(rewards)
    total, others = fsum(rewards), len(rewards) - 1
    return [reward - (total - reward) / others for reward in rewards]
