"""Usual lengths: a fixed price for a response outside the range that is usual in its context."""

from __future__ import annotations

from munro.rewards.kinds import Grader, Item, Kind, Scale
from munro.rewards.length.units import measure
from munro.rewards.length.usual import LengthRanges
from munro.rewards.types import Grade


class LengthRangeGrader(Grader):
    """0 inside the usual range of the context, -1 outside: its weight is the penalty."""

    kind = Kind(
        summary="-1 for a length outside what is usual in its context (munro lengths)",
        scale=Scale(range=(-1.0, 0.0)),
        file_args=("path",),
        is_light=True,
        in_process=True,
    )

    def __init__(self, path: str) -> None:
        """
        Args:
            path: what `munro lengths` wrote.

        Raises:
            ValueError: it cannot be read.
        """
        self._ranges = LengthRanges.load(path)

    def check(self, item: Item) -> None:
        """Refuse an item whose length cannot be told."""
        measure(item, self._ranges.unit)

    def grade(self, item: Item) -> Grade:
        """By the item's `context`, else its `task_id`."""
        context = str(item.get("context", item.get("task_id", "")))
        shortest, longest = self._ranges.of(context)
        length = measure(item, self._ranges.unit)
        if shortest <= length <= longest:
            return Grade.of(0.0)
        unit = self._ranges.unit
        return Grade.of(-1.0, f"{length} {unit}, usual are {shortest} to {longest}")
