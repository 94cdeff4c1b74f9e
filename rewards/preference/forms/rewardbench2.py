"""RewardBench 2's: lists of right and of wrong responses, of which the best must be a right one."""

from __future__ import annotations

from munro.rewards.preference.comparison import CHOSEN, REJECTED, Comparison
from munro.rewards.preference.form import Form, Row, context, subset


class RewardBench2(Form):
    """{"prompt", "chosen": ["..."], "rejected": ["...", "...", "..."], "subset"}: each chosen
    one is better than each rejected one, and nothing is said among them."""

    columns = ("prompt", "chosen", "rejected")

    def is_of(self, row: Row) -> bool:
        """Where both are lists that begin with a text."""
        names = ("chosen", "rejected")
        return super().is_of(row) and all(
            isinstance(row[name], list) and isinstance(next(iter(row[name]), ""), str)
            for name in names
        )

    def read(self, row: Row) -> list[Comparison]:
        """One comparison of all."""
        for name in ("chosen", "rejected"):
            if not row[name] or not all(isinstance(one, str) for one in row[name]):
                raise ValueError(f"{name} is not a list of texts, at least one")
        chosen, rejected = row["chosen"], row["rejected"]
        scores = (CHOSEN,) * len(chosen) + (REJECTED,) * len(rejected)
        return [
            Comparison(
                context=context(row, "prompt"),
                candidates=(*chosen, *rejected),
                scores=scores,
                subset=subset(row),
            )
        ]
