"""HelpSteer3's: two responses, and how much better one is, from -3 to 3."""

from __future__ import annotations

from munro.rewards.preference.comparison import Comparison
from munro.rewards.preference.form import Form, Row, context, number, subset, text

BY_MARGIN = {0: (3, 3), 1: (4, 3), 2: (5, 3), 3: (5, 2)}
"""Scores of the better and the worse one, by how much better it is; they differ by as much."""


class HelpSteer3(Form):
    """{"context": [messages], "response1", "response2", "overall_preference": -3 .. 3}: below 0 the
    first is better. "domain" is the subset."""

    columns = ("context", "response1", "response2", "overall_preference")

    def read(self, row: Row) -> list[Comparison]:
        """One pair, which may be a tie."""
        preference = number(row, "overall_preference", low=-3, high=3)
        if preference != int(preference):
            raise ValueError(f"overall_preference is {preference:g}: give a whole number")
        better, worse = BY_MARGIN[abs(int(preference))]
        return [
            Comparison(
                context=context(row, "context"),
                candidates=(text(row, "response1"), text(row, "response2")),
                scores=(better, worse) if preference <= 0 else (worse, better),
                subset=subset(row, "domain") or subset(row),
            )
        ]
