"""How well an attempt did: verifiers, penalties, and how they combine. Usable as a library.

Importing this room is cheap: its names are looked up when they are first used, and SymPy is only
ever imported inside the worker processes of `rewards.math`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewards.compose import RewardBreakdown
    from rewards.config import RewardsConfig
    from rewards.errors import EpisodeError, GraderError, SandboxError
    from rewards.math import MathVerifier
    from rewards.types import Grade
    from rewards.workers import WorkerPool

__all__ = [
    "EpisodeError",
    "Grade",
    "GraderError",
    "MathVerifier",
    "RewardBreakdown",
    "RewardsConfig",
    "SandboxError",
    "WorkerPool",
]

_HOMES = {
    "EpisodeError": "rewards.errors",
    "Grade": "rewards.types",
    "GraderError": "rewards.errors",
    "MathVerifier": "rewards.math",
    "RewardBreakdown": "rewards.compose",
    "RewardsConfig": "rewards.config",
    "SandboxError": "rewards.errors",
    "WorkerPool": "rewards.workers",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'rewards' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
