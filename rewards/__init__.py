"""How well an attempt did: verifiers, penalties, and how they combine. Usable as a library.

Importing this room is cheap: its names are looked up when they are first used, and SymPy is only
ever imported inside the worker processes of `munro.rewards.math`.
"""

from __future__ import annotations

if __name__ != "munro.rewards":  # an older import, or a folder that only happens to be found
    raise ImportError(f"Munro's {__name__!r} is imported as munro.{__name__}", name=__name__)

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from munro.rewards.combine.compose import RewardBreakdown
    from munro.rewards.config import RewardsConfig
    from munro.rewards.errors import EpisodeError, GraderError, SandboxError
    from munro.rewards.kinds import Field, Grader, Kind
    from munro.rewards.math import MathVerifier
    from munro.rewards.types import Grade
    from munro.rewards.workers import WorkerPool

__all__ = [
    "EpisodeError",
    "Field",
    "Grade",
    "Grader",
    "GraderError",
    "Kind",
    "MathVerifier",
    "RewardBreakdown",
    "RewardsConfig",
    "SandboxError",
    "WorkerPool",
]

_HOMES = {
    "EpisodeError": "munro.rewards.errors",
    "Field": "munro.rewards.kinds",
    "Grade": "munro.rewards.types",
    "Grader": "munro.rewards.kinds",
    "GraderError": "munro.rewards.errors",
    "Kind": "munro.rewards.kinds",
    "MathVerifier": "munro.rewards.math",
    "RewardBreakdown": "munro.rewards.combine.compose",
    "RewardsConfig": "munro.rewards.config",
    "SandboxError": "munro.rewards.errors",
    "WorkerPool": "munro.rewards.workers",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
