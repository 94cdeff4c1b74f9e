"""UltraFeedback's and its kin: several responses, each with a score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from munro.rewards.preference.comparison import Comparison
from munro.rewards.preference.form import Form, Row, context, number, stretched, subset

SCALES = {"fine-grained_score": (1, 5), "score": (1, 5), "rating": (1, 5), "overall_score": (1, 10)}
"""Where a completion's score may stand, best first, and its least and most."""


class UltraFeedback(Form):
    """{"instruction" or "prompt", "completions": [{"response", "overall_score" or
    "fine-grained_score"}, ...]}, or "generations" or "responses" with "ratings" or "scores" from 1
    to 5. Scores are rounded to whole ones from 1 to 5."""

    columns = ("instruction", "completions")

    def is_of(self, row: Row) -> bool:
        """Any pair of names that such data have."""
        has_texts = any(name in row for name in ("generations", "responses"))
        has_scores = any(name in row for name in ("ratings", "rating", "scores"))
        is_asked = any(name in row for name in ASKED)
        return is_asked and ("completions" in row or (has_texts and has_scores))

    def read(self, row: Row) -> list[Comparison]:
        """One comparison of all responses."""
        asked = context(row, next(name for name in ASKED if name in row))
        texts, scores = _completions(row) if "completions" in row else _lists(row)
        return [
            Comparison(context=asked, candidates=texts, scores=scores, subset=subset(row, "source"))
        ]


ASKED = ("instruction", "prompt", "input")


def _completions(row: Row) -> tuple[tuple[str, ...], tuple[int, ...]]:
    found = row["completions"]
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise ValueError("completions is not a list of {response, overall_score}")
    texts = [one.get("response") for one in found]
    if not all(isinstance(one, str) for one in texts):
        raise ValueError("a completion holds no text as its response")
    for name, (low, high) in SCALES.items():
        if found and all(one.get(name) is not None for one in found):
            values = [number(one, name, low=low, high=high) for one in found]
            return tuple(map(str, texts)), stretched(values, low=low, high=high)
    raise ValueError(f"not every completion has a score: one of {', '.join(SCALES)}")


def _lists(row: Row) -> tuple[tuple[str, ...], tuple[int, ...]]:
    texts: Any = row.get("generations", row.get("responses"))
    name = next(name for name in ("ratings", "rating", "scores") if name in row)
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise ValueError("the responses are not a list of texts")
    if not isinstance(row[name], list) or len(row[name]) != len(texts):
        raise ValueError(f"{name} must hold {len(texts)} numbers, one per response")
    values = [number({name: one}, name, low=1, high=5) for one in row[name]]
    return tuple(texts), stretched(values, low=1, high=5)
