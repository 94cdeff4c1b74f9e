"""People's labels on responses: what a judge is held against before anybody is paid by it.

    {"question": "...", "response": "...", "label": 1}                     one person's
    {"question": "...", "response": "...", "labels": [1, 0, 1]}            several; null for none
    {"messages": [...], "response": "...", "labels": {"ann": 1, "bo": 0}}  by name
    {"transcript": [...], "label": 0}                                      of a whole attempt

JSONL, or CSV with columns `label` or `label_1`, `label_2`, ... Red-teaming tools call these columns
`objective`, `assistant_response` and `human_score` (PyRIT); both names do. Other columns of a line
are fields for the grader. A mistake is one sentence that names the file, the lines and the column.
"""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = {"objective": "question", "assistant_response": "response", "harm_category": "subset"}
RATER = re.compile(r"(?:human_score|label)(?:_(?P<name>\w+))?")
MOST_SHOWN = 5
MOST_FIELD = 1 << 24
"""Characters in one cell of a CSV file."""


class BadLabels(ValueError):
    """What is wrong with a file of labels, in one sentence: file, lines, why."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """A file of labels.

    Example:
        labels = read_labels("refusals.csv")
        labels.ratings.shape       # raters x responses
    """

    path: str
    items: tuple[Mapping[str, Any], ...]
    """What the judge is given for each response."""
    numbers: tuple[int, ...]
    """Of their rows in the file, from 1."""
    raters: tuple[str, ...]
    ratings: NDArray[np.float64]
    """[R, N] labels; NaN where a rater said nothing."""
    num_other: int = 0
    """Rows left out because they hold no text (`data_type` of pictures and sound)."""

    @property
    def are_verdicts(self) -> bool:
        """Whether nothing but 0 and 1 occurs."""
        found = self.ratings[~np.isnan(self.ratings)]
        return bool(np.isin(found, (0, 1)).all())

    @property
    def clusters(self) -> list[str]:
        """What each response answers: those that answer the same resemble each other."""
        return [_asked(item) or f"row {at}" for at, item in enumerate(self.items)]


def read_labels(path: Path | str) -> Labels:
    """All labels of a file.

    Raises:
        BadLabels: it cannot be read or holds none, or rows are wrong; names them.
    """
    file = Path(path).expanduser()
    rows: list[tuple[int, Mapping[str, Any], Mapping[str, float]]] = []
    wrong, num_other = [], 0
    try:
        for number, found in _rows(file):
            try:
                if isinstance(found, ValueError):
                    raise found
                if str(found.get("data_type") or "text") != "text":
                    num_other += 1
                    continue
                rows.append((number, *_parted(found)))
            except ValueError as error:
                wrong.append(f"row {number}: {error}")
    except UnicodeDecodeError as error:
        raise BadLabels(f"{path} is not UTF-8 text ({error.reason})") from error
    except (OSError, csv.Error) as error:
        raise BadLabels(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if wrong:
        more = f" ({len(wrong) - MOST_SHOWN} more)" if len(wrong) > MOST_SHOWN else ""
        raise BadLabels(f"{path}, {'; '.join(wrong[:MOST_SHOWN])}{more}")
    if not rows:
        raise BadLabels(f"{path} holds no labels: write one response a line")
    raters = list(dict.fromkeys(rater for *_, ratings in rows for rater in ratings))
    rating_RN = np.array([[each.get(rater, math.nan) for *_, each in rows] for rater in raters])
    return Labels(
        path=str(path),
        items=tuple(item for _, item, _ in rows),
        numbers=tuple(number for number, *_ in rows),
        raters=tuple(raters),
        ratings=rating_RN,
        num_other=num_other,
    )


def is_labels(path: Path | str) -> bool:
    """Whether a file holds labels of responses, by its name or its first row; else it may hold
    comparisons."""
    file = Path(path).expanduser()
    if file.suffix == ".csv" or not file.is_file():
        return True
    if file.suffix == ".gz":
        return False
    try:
        first = next(iter(_rows(file)), (0, {}))[1]
    except (OSError, UnicodeDecodeError):
        return True
    named = ("response", "assistant_response", "transcript")
    return isinstance(first, Mapping) and any(name in first for name in named)


def _rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any] | ValueError]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        if file.suffix == ".csv":
            yield from _csv_rows(lines)
            return
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, ValueError(f"not JSON ({error})")
                continue
            yield number, row if isinstance(row, dict) else ValueError("not a JSON object")


def _csv_rows(lines: Iterator[str]) -> Iterator[tuple[int, Mapping[str, Any] | ValueError]]:
    """Rows of a table; remarks stand before its head alone, for a cell may begin with # too."""
    head = next((line for line in lines if not line.startswith("#")), "")
    limit = csv.field_size_limit(MOST_FIELD)
    try:
        names = next(csv.reader([head]), [])
        for number, cells in enumerate(csv.reader(lines, strict=True), 1):
            if not cells:
                continue
            if len(cells) != len(names):
                yield number, ValueError(f"{len(cells)} cells under {len(names)} columns")
                continue
            row: dict[str, Any] = dict(zip(names, cells, strict=True))
            yield number, {name: _cell(name, cell) for name, cell in row.items()}
    finally:
        csv.field_size_limit(limit)


def _cell(name: str, text: str) -> Any:
    """A label of a table, where it is a number or nothing; anything else as it stands."""
    if RATER.fullmatch(name):
        if not text.strip():
            return None
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _parted(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """(the item for a grader, labels by rater)."""
    item: dict[str, Any] = {}
    ratings: dict[str, float] = {}
    for name, value in row.items():
        if name == "labels":
            ratings |= _several(value)
        elif match := RATER.fullmatch(name):
            ratings |= _rating(name, match["name"] or "label", value)
        elif name != "data_type":
            item[NAMES.get(name, name)] = value
    if "question" in item:
        item.setdefault("prompt", item["question"])
    if "response" not in item and isinstance(item.get("transcript"), list):
        item["response"] = _last_of(item["transcript"])
    if not isinstance(item.get("response"), str):
        raise ValueError("response is missing, or is no text")
    if not ratings:
        raise ValueError("no label: give label, or labels of several people")
    return item, ratings


def _last_of(transcript: list[Any]) -> str:
    """What an attempt said at the end; a transcript that is none is refused by who reads it."""
    last = transcript[-1] if transcript else None
    content = last.get("content") if isinstance(last, Mapping) else None
    return content if isinstance(content, str) else ""


def _several(value: Any) -> dict[str, float]:
    if isinstance(value, list):
        value = {str(at): each for at, each in enumerate(value, 1)}
    if not isinstance(value, Mapping):
        raise ValueError("labels is neither a list of numbers nor an object of them by name")
    found: dict[str, float] = {}
    for name, each in value.items():
        found |= _rating(f"labels.{name}", str(name), each)
    return found


def _rating(column: str, rater: str, value: Any) -> dict[str, float]:
    if value is None:
        return {}
    # not math.isfinite, for a whole number of JSON's may be too large for a float
    if not isinstance(value, bool | int | float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{column} is {value!r:.40}: give a number; of yes and no, 1 and 0")
    return {rater: float(value)}


def _asked(item: Mapping[str, Any]) -> str:
    if item.get("messages"):
        return json.dumps(item["messages"], default=str)
    return str(item.get("question") or item.get("prompt") or "")
