"""How named parts of a task's reward become one number."""

from __future__ import annotations

from munro.rewards.combine.combination import Combination
from munro.rewards.combine.compose import RewardBreakdown

__all__ = [
    "Combination",
    "RewardBreakdown",
]
