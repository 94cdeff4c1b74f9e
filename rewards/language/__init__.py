"""Which language a text is in, and what a chain of thought pays for leaving it."""

from __future__ import annotations

from munro.rewards.language.score import (
    WORD,
    chain_of_thought,
    consistency,
    num_foreign_words,
    visible,
)

__all__ = [
    "WORD",
    "chain_of_thought",
    "consistency",
    "num_foreign_words",
    "visible",
]
