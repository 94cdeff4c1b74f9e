"""What a long response pays, and what is usual in its context."""

from __future__ import annotations

from munro.rewards.length.score import alp, overlong, penalty

__all__ = [
    "alp",
    "overlong",
    "penalty",
]
