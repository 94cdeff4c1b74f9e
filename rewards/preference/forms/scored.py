"""Our own: a context, and candidates with a score from 1 to 5 each."""

from __future__ import annotations

import difflib
from typing import Any

from munro.rewards.preference.comparison import CHOSEN, REJECTED, SCORES, Comparison
from munro.rewards.preference.form import Form, Row, subset, text

KEYS = ("context", "candidates", "scores", "chosen", "rejected", "subset")


class Scored(Form):
    """{"context": "...", "candidates": ["...", "..."], "scores": [5, 2]}, or the same with
    "chosen" and "rejected". Nothing else may be there: a typo is an error."""

    columns = ("context", "candidates", "scores")

    def is_of(self, row: Row) -> bool:
        """Any row with a context of text, or with candidates: it can be meant for nothing else."""
        return isinstance(row.get("context"), str) or "candidates" in row

    def read(self, row: Row) -> list[Comparison]:
        """The comparison; without scores where there are none."""
        _refuse_unknown_keys(row)
        context = text(row, "context")
        if "chosen" in row or "rejected" in row:
            if "candidates" in row or "scores" in row:
                raise ValueError("give either candidates and scores, or chosen and rejected")
            candidates: tuple[str, ...] = (text(row, "chosen"), text(row, "rejected"))
            scores: tuple[int, ...] = (CHOSEN, REJECTED)
        else:
            candidates = _candidates(row)
            scores = _scores(row, len(candidates)) if "scores" in row else ()
        return [
            Comparison(context=context, candidates=candidates, scores=scores, subset=subset(row))
        ]


def _refuse_unknown_keys(row: Row) -> None:
    for key in row:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KEYS)}"
            raise ValueError(f"unknown key {key[:80]!r}: {hint}")


def _candidates(row: Row) -> tuple[str, ...]:
    candidates = row.get("candidates")
    if candidates is None:
        raise ValueError("candidates are missing (or chosen and rejected)")
    if not isinstance(candidates, list) or not all(isinstance(one, str) for one in candidates):
        raise ValueError("candidates is not a list of texts")
    return tuple(candidates)


def _scores(row: Row, num_candidates: int) -> tuple[Any, ...]:
    scores = row["scores"]
    if not isinstance(scores, list) or len(scores) != num_candidates:
        given = f"{len(scores)} of them" if isinstance(scores, list) else repr(scores)[:80]
        raise ValueError(f"scores must hold {num_candidates} numbers, one per candidate: {given}")
    for score in scores:
        if type(score) is not int or score not in SCORES:
            raise ValueError(f"score {repr(score)[:80]} is not a whole number from 1 to 5")
    return tuple(scores)
