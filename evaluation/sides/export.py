"""What people said, in forms that train a preference model.

    TRL           {"prompt": [...], "chosen": [...], "rejected": [...]}      ties left out
    HelpSteer3    {"context": [...], "response1", "response2", "overall_preference": -3 .. 3, ...}

A line a task that was rated: the mean over its raters, who are half of them on either side. Which
of two responses comes first is a coin's choice, so that a model cannot learn the place.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from munro.evaluation.files import write_atomically
from munro.evaluation.sides.ratings import Rating, Ratings
from munro.evaluation.sides.types import BadSides, Kind

TRL, HELPSTEER3 = "preferences.trl.jsonl", "preferences.helpsteer3.jsonl"


def write_preferences(found: Ratings, folder: Path, *, without: Sequence[str] = ()) -> list[Path]:
    """Write both forms.

    Args:
        found: the study.
        folder: to write into.
        without: raters to leave out.

    Raises:
        BadSides: the disk refuses.
    """
    by_pair: dict[int, list[Rating]] = defaultdict(list)
    for one in found.of(Kind.FIRST, without=frozenset(without)):
        by_pair[one.pair].append(one)
    rows = {
        folder / TRL: [row for pair in sorted(by_pair) for row in _trl(found, pair, by_pair[pair])],
        folder / HELPSTEER3: [_helpsteer3(found, pair, by_pair[pair]) for pair in sorted(by_pair)],
    }
    try:
        for path, some in rows.items():
            write_atomically(path, "".join(json.dumps(row) + "\n" for row in some))
    except OSError as error:
        raise BadSides(f"cannot write {folder}: {error.strerror or error}.") from error
    return list(rows)


def _trl(found: Ratings, pair: int, ratings: Sequence[Rating]) -> Iterator[dict[str, Any]]:
    score = fmean(one.score for one in ratings)
    if not score:
        return
    a, b = found.texts(pair)
    chosen, rejected = (b, a) if score > 0 else (a, b)
    yield {
        "prompt": list(found.asked.prompts[pair]),
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "margin": abs(score),
        "subset": found.key.subsets[pair],
        "task": found.key.tasks[pair],
    }


def _helpsteer3(found: Ratings, pair: int, ratings: Sequence[Rating]) -> dict[str, Any]:
    first, second = found.asked.texts[pair]
    # towards the second response, as -3 to 3
    sign = 2 if found.key.a_first[pair] else -2
    scores = [round(sign * one.score) for one in ratings]
    mean = sign * fmean(one.score for one in ratings)
    return {
        "context": list(found.asked.prompts[pair]),
        "response1": first,
        "response2": second,
        "overall_preference": int(math.copysign(math.floor(abs(mean) + 0.5), mean)),
        "individual_preference": [{"score": score} for score in scores],
        "domain": found.key.subsets[pair],
        "task": found.key.tasks[pair],
    }
