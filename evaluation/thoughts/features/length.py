"""How long replies are, in tokens."""

from __future__ import annotations

from munro.evaluation.thoughts.types import Array, Feature, Rows


class Length(Feature):
    """Tokens that were sampled."""

    title = "Length"
    told = "Tokens that the policy wrote, all turns together."

    def values(self, rows: Rows) -> Array:
        """Tokens of each."""
        return rows.tokens
