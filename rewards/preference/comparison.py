"""One comparison: candidates for one context, and how good each is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

SCORES = (1, 2, 3, 4, 5)
CHOSEN, REJECTED = 5, 2
"""Scores of a plain pair. An answer to another question gets 1, so a rejected one stays above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidates for one context, and how good each is.

    Example:
        Comparison(context="What is a cairn?", candidates=("A heap of stones.", "A dog."),
                   scores=(5, 2))
    """

    context: str
    candidates: tuple[str, ...]
    scores: tuple[int, ...] = ()
    """One of 1 to 5 per candidate; empty where nobody has judged them."""
    subset: str = ""
    """What the data say it is of; figures are told by it."""
    question: str = ""
    """What people were asked, where the data hold several answers about the same candidates."""

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(better, worse) indices of every two candidates whose scores differ."""
        both = combinations(range(len(self.scores)), 2)
        ordered = (sorted(pair, key=lambda i: -self.scores[i]) for pair in both)
        return [(i, j) for i, j in ordered if self.scores[i] != self.scores[j]]
