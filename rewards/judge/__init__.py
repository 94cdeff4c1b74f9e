"""LLM judges: what no rule can check, asked of a model at an OpenAI-compatible address."""

from __future__ import annotations

from munro.rewards.judge.config import JudgeConfig
from munro.rewards.judge.judge import Judge
from munro.rewards.judge.named import close, configure, named
from munro.rewards.judge.orders import rotations

__all__ = [
    "Judge",
    "JudgeConfig",
    "close",
    "configure",
    "named",
    "rotations",
]
