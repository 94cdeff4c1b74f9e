"""Shorter is better, down to nothing: the simplest quality there is, and one that is easily bought.

Give it the last word, or a gate before it: as a term of a sum it pays for saying nothing at all.
"""

from __future__ import annotations

from munro.rewards.kinds import Grader, Item, Kind
from munro.rewards.length.units import UNITS, measure
from munro.rewards.types import Grade


class BrevityGrader(Grader):
    """1 for nothing, falling to 0 at `most`."""

    kind = Kind(
        summary="shorter is better: 1 for nothing, 0 at a length of your choice",
        is_light=True,
        in_process=True,
    )

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

    def check(self, item: Item) -> None:
        """Refuse an item whose length cannot be told."""
        measure(item, self._unit)

    def grade(self, item: Item) -> Grade:
        """No verdict: short is not right."""
        return Grade.of(max(0.0, 1 - measure(item, self._unit) / self._most))
