"""Shorter is better, down to nothing: the simplest quality there is, and one that is easily bought.

Give it the last word, or a gate before it: as a term of a sum it pays for saying nothing at all.
"""

from __future__ import annotations

from munro.rewards.kinds import Grader, Item
from munro.rewards.types import Grade

UNITS = ("characters", "words", "tokens")


def measure(item: Item, unit: str) -> int:
    """Length of an item's response in a unit; tokens are the policy's own."""
    if unit == "characters":
        return len(item["response"].strip())
    if unit == "words":
        return len(item["response"].split())
    if "num_tokens" not in item:
        raise ValueError("'num_tokens' is missing: outside of a climb measure words or characters")
    return int(item["num_tokens"])


class BrevityGrader(Grader):
    """1 for nothing, falling to 0 at `most`."""

    def __init__(self, most: int = 100, unit: str = "words") -> None:
        """
        Args:
            most: length from which the grade is 0.
            unit: "characters", "words" or "tokens".

        Raises:
            ValueError: no such unit, or `most` is not positive.
        """
        if unit not in UNITS:
            raise ValueError(f"unit = {unit!r}: give one of {', '.join(UNITS)}.")
        if most < 1:
            raise ValueError(f"most = {most}: must be at least 1.")
        self._most, self._unit = most, unit

    def grade(self, item: Item) -> Grade:
        """No verdict: short is not right."""
        return Grade.of(max(0.0, 1 - measure(item, self._unit) / self._most))
