"""PKU-SafeRLHF's: two responses, which is better, and, another question, which is safer."""

from __future__ import annotations

from munro.rewards.preference.comparison import CHOSEN, REJECTED, Comparison
from munro.rewards.preference.form import Form, Row, context, text

QUESTIONS = {"better": "better_response_id", "safer": "safer_response_id"}


class SafeRlhf(Form):
    """{"prompt", "response_0", "response_1", "better_response_id", "safer_response_id"}: two
    comparisons, one a question. A better response need not be safer: train on one of them."""

    columns = ("prompt", "response_0", "response_1")

    def is_of(self, row: Row) -> bool:
        """Where at least one of the questions is answered."""
        return super().is_of(row) and any(name in row for name in QUESTIONS.values())

    def read(self, row: Row) -> list[Comparison]:
        """A comparison for each question that is answered."""
        asked = context(row, "prompt")
        pair = (text(row, "response_0"), text(row, "response_1"))
        found = []
        for question, name in QUESTIONS.items():
            if name not in row:
                continue
            which = row[name]
            if isinstance(which, bool) or which not in (0, 1):
                raise ValueError(f"{name} is {which!r:.40}: give 0 or 1")
            scores = (REJECTED, CHOSEN) if which else (CHOSEN, REJECTED)
            found.append(
                Comparison(context=asked, candidates=pair, scores=scores, question=question)
            )
        return found
