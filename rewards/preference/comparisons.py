"""Files of comparisons: what a preference model learns from, is measured on, and scores.

JSONL in any of the forms of `munro.rewards.preference.forms`, told by the columns of each line:

    {"context": "...", "candidates": ["...", "..."], "scores": [5, 2]}
    {"prompt": "...", "chosen": "...", "rejected": "..."}                  and others

A mistake in the file is one sentence that names the file, the lines and what is wrong there.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

from munro.rewards.preference.comparison import CHOSEN, REJECTED, SCORES, Comparison
from munro.rewards.preference.form import form_of

__all__ = [
    "CHOSEN",
    "REJECTED",
    "SCORES",
    "BadComparisons",
    "Comparison",
    "parse_comparisons",
    "read_comparisons",
]

MOST_SHOWN = 5


class BadComparisons(ValueError):
    """What is wrong with a file of comparisons, in one sentence: file, lines, why."""

    is_sentence = True


def read_comparisons(
    path: Path | str,
    *,
    judged: bool = True,
    question: str = "",
    on_wrong: Callable[[int, str], None] | None = None,
) -> list[Comparison]:
    """Every comparison of a file, in its order; blank lines are passed over.

    Args:
        path: of a JSONL file, which may be gzipped.
        judged: every line must carry scores (or say which one is better), for at least 2
            candidates; otherwise one candidate will do and scores may be left out.
        question: of data that answer several, the one to read; "" for all.
        on_wrong: told the number and the mistake of each wrong line, which is then left out.

    Raises:
        BadComparisons: the file cannot be read or holds nothing, lines are wrong, or no line
            answers the question.
    """
    found: list[Comparison] = []
    wrong: list[str] = []
    for number, line in _lines(path):
        try:
            found += parse_comparisons(line, judged=judged)
        except ValueError as error:
            if on_wrong is not None:
                on_wrong(number, str(error))
            wrong.append(f"line {number}: {error}")
    if wrong and on_wrong is None:
        more = f" ({len(wrong) - MOST_SHOWN} more)" if len(wrong) > MOST_SHOWN else ""
        raise BadComparisons(f"{path}, {'; '.join(wrong[:MOST_SHOWN])}{more}")
    if not found:
        what = "is empty: write one comparison a line" if not wrong else "holds wrong lines alone"
        raise BadComparisons(f"{path} {what}")
    if not question:
        return found
    asked = [one for one in found if one.question == question]
    if not asked:
        known = sorted({one.question for one in found} - {""})
        there = f"there are {' and '.join(known)}" if known else "its form knows one question alone"
        raise BadComparisons(f"{path} does not answer the question {question!r}: {there}")
    return asked


def parse_comparisons(line: str, *, judged: bool = True) -> list[Comparison]:
    """The comparisons that one line of JSON states; `judged` as in `read_comparisons`.

    Raises:
        ValueError: what is wrong with it, in one sentence.
    """
    try:
        row = json.loads(line.strip())
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise ValueError("not a comparison: nested too deeply") from error
    if not isinstance(row, dict):
        raise ValueError('not a JSON object such as {"context": ..., "candidates": [...]}')
    found = form_of(row).read(row)
    for comparison in found:
        _check(comparison, judged)
    return found


def _lines(path: Path | str) -> Iterator[tuple[int, str]]:
    file = Path(path).expanduser()
    try:
        opened = gzip.open if file.suffix == ".gz" else open
        with opened(file, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise BadComparisons(f"{path} is not UTF-8 text ({error.reason})") from error
    except (OSError, EOFError) as error:
        raise BadComparisons(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        ) from error


def _check(comparison: Comparison, judged: bool) -> None:
    candidates, scores = comparison.candidates, comparison.scores
    fewest = 2 if judged else 1
    if len(candidates) < fewest:
        count = {0: "no candidates", 1: "one candidate"}[len(candidates)]
        raise ValueError(f"{count}: at least {fewest} must be there to compare")
    if judged and not scores:
        raise ValueError("scores are missing: one whole number from 1 to 5 per candidate")
    for i, j in combinations(range(len(scores)), 2):
        if candidates[i] == candidates[j] and scores[i] != scores[j]:
            if (scores[i], scores[j]) in ((CHOSEN, REJECTED), (REJECTED, CHOSEN)):
                raise ValueError("chosen equals rejected")
            raise ValueError(
                f"candidates {i + 1} and {j + 1} are the same text, with scores {scores[i]} and "
                f"{scores[j]}"
            )
