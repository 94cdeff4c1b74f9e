"""Group-relative advantage: how much better than its siblings was each attempt?"""

from __future__ import annotations

import math
from statistics import fmean, pstdev

from munro.rollout.types import Group


def finite_rewards(group: Group) -> list[float]:
    """What each attempt was paid in all, in their order.

    Raises:
        ValueError: a reward is not finite.
    """
    rewards = [attempt.reward.total for attempt in group.attempts]
    if not all(math.isfinite(reward) for reward in rewards):
        raise ValueError(f"task {group.task.id!r}: rewards must be finite, got {rewards}")
    return rewards


def group_relative(group: Group, *, eps: float = 1e-6) -> list[float]:
    """A_i = (R_i - mean R) / (std R + eps), in the order of `group.attempts`.

    MAI-Thinking-1 report, section 3.1 (Eq. 5); the kind of deviation and eps are not stated there.
    The deviation is the population one: a group is everything that was sampled, not a sample of
    it. A group whose rewards all agree gets zeros, whatever eps is.

    Raises:
        ValueError: a reward is not finite.
    """
    rewards = finite_rewards(group)
    mean, std = fmean(rewards), pstdev(rewards)
    if std == 0:
        return [0.0] * len(rewards)
    return [(reward - mean) / (std + eps) for reward in rewards]
