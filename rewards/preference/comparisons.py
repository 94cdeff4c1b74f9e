"""Comparisons of candidates in JSONL: what a preference model learns from, and what it scores.

    {"context": "...", "candidates": ["...", "..."], "scores": [5, 2]}
    {"context": "...", "chosen": "...", "rejected": "..."}

A mistake in the file is one sentence that names the file, the line and what is wrong there.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

SCORES = (1, 2, 3, 4, 5)
CHOSEN, REJECTED = 5, 2
"""Scores of a plain pair. An answer to another question gets 1, so a rejected one stays above."""

KEYS = ("context", "candidates", "scores", "chosen", "rejected")


class BadComparisons(ValueError):
    """What is wrong with a file of comparisons, in one sentence: file, line, why."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidates for one context, and how good each is.

    Example:
        Comparison(context="What is a cairn?", candidates=("A heap of stones.", "A dog."),
                   scores=(5, 2))
    """

    context: str
    candidates: tuple[str, ...]
    scores: tuple[int, ...] = ()
    """One of 1 to 5 per candidate; empty where nobody has judged them."""

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(better, worse) indices of every two candidates whose scores differ."""
        both = combinations(range(len(self.scores)), 2)
        ordered = (sorted(pair, key=lambda i: -self.scores[i]) for pair in both)
        return [(i, j) for i, j in ordered if self.scores[i] != self.scores[j]]


def read_comparisons(path: Path | str, *, judged: bool = True) -> list[Comparison]:
    """Every comparison of a file, in its order; blank lines are passed over.

    Args:
        path: of a JSONL file.
        judged: every line must carry scores (or chosen and rejected), for at least 2 candidates;
            otherwise one candidate will do and scores may be left out.

    Raises:
        BadComparisons: the file cannot be read or is empty, or a line is wrong.
    """
    found = []
    try:
        with Path(path).expanduser().open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        found.append(parse_comparison(line, judged=judged))
                    except ValueError as error:
                        raise BadComparisons(f"{path}, line {number}: {error}") from error
    except UnicodeDecodeError as error:
        raise BadComparisons(f"{path} is not UTF-8 text ({error.reason})") from error
    except OSError as error:
        raise BadComparisons(f"cannot read {path}: {error.strerror or error}") from error
    if not found:
        raise BadComparisons(f"{path} is empty: write one comparison a line")
    return found


def parse_comparison(line: str, *, judged: bool = True) -> Comparison:
    """The comparison that one line of JSON states; `judged` as in `read_comparisons`.

    Raises:
        ValueError: what is wrong with it, in one sentence.
    """
    try:
        record = json.loads(line.strip())
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise ValueError("not a comparison: nested too deeply") from error
    if not isinstance(record, dict):
        raise ValueError('not a JSON object such as {"context": ..., "candidates": [...]}')
    _refuse_unknown_keys(record)
    context = _text(record, "context")
    if "chosen" in record or "rejected" in record:
        if "candidates" in record or "scores" in record:
            raise ValueError("give either candidates and scores, or chosen and rejected")
        pair = (_text(record, "chosen"), _text(record, "rejected"))
        return Comparison(context=context, candidates=pair, scores=(CHOSEN, REJECTED))
    candidates = _candidates(record, fewest=2 if judged else 1)
    if "scores" not in record and not judged:
        return Comparison(context=context, candidates=candidates)
    return Comparison(
        context=context, candidates=candidates, scores=_scores(record, len(candidates))
    )


def _refuse_unknown_keys(record: Mapping[str, Any]) -> None:
    for key in record:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KEYS)}"
            raise ValueError(f"unknown key {key[:80]!r}: {hint}")


def _text(record: Mapping[str, Any], key: str) -> str:
    if key not in record:
        raise ValueError(f"{key} is missing")
    if not isinstance(record[key], str):
        raise ValueError(f"{key} is not a text")
    return str(record[key])


def _candidates(record: Mapping[str, Any], *, fewest: int) -> tuple[str, ...]:
    candidates = record.get("candidates")
    if candidates is None:
        raise ValueError("candidates are missing (or chosen and rejected)")
    if not isinstance(candidates, list) or not all(isinstance(one, str) for one in candidates):
        raise ValueError("candidates is not a list of texts")
    if len(candidates) < fewest:
        count = {0: "no candidates", 1: "one candidate"}[len(candidates)]
        raise ValueError(f"{count}: at least {fewest} must be there to compare")
    return tuple(candidates)


def _scores(record: Mapping[str, Any], num_candidates: int) -> tuple[int, ...]:
    scores = record.get("scores")
    if scores is None:
        raise ValueError("scores are missing: one whole number from 1 to 5 per candidate")
    if not isinstance(scores, list) or len(scores) != num_candidates:
        given = f"{len(scores)} of them" if isinstance(scores, list) else repr(scores)[:80]
        raise ValueError(f"scores must hold {num_candidates} numbers, one per candidate: {given}")
    for score in scores:
        if type(score) is not int or score not in SCORES:
            raise ValueError(f"score {repr(score)[:80]} is not a whole number from 1 to 5")
    return tuple(scores)
