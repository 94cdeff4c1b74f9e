"""What the child processes of a pool run: a grader's one grading, as JSON can say it."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from munro.rewards.errors import EpisodeError
from munro.rewards.kinds import Grader, find, graded


def grade_in_child(kind: str, options: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    """A grade or a failure: {"grade": ...}, or {"failure": ..., "is_value_error": ...}."""
    try:
        grade = graded(_grader(kind, json.dumps(options, sort_keys=True)).grade(item))
    except (EpisodeError, ValueError) as failure:
        return {"failure": str(failure), "is_value_error": isinstance(failure, ValueError)}
    return {"grade": {**asdict(grade), "parts": dict(grade.parts)}}


@lru_cache(maxsize=64)
def _grader(kind: str, options: str) -> Grader:
    return find(kind)(**json.loads(options))
