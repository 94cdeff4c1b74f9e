"""How much of a reply was said in it before."""

from __future__ import annotations

from munro.evaluation.thoughts.types import Array, Feature, Rows
from munro.rewards.repetition import shares


class Repetition(Feature):
    """Share of words and signs in runs that stood there before."""

    title = "Repetition"
    told = "Share of a reply that repeats what was said in it before, on average."

    def values(self, rows: Rows) -> Array:
        """Share of each."""
        return shares(rows.text)
