"""Each kind of grader over the library that does its work: fields of an item in, `Grade` out.

Libraries are imported when a grader is made, so that one kind does not cost another's imports.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from rewards.config import RewardsConfig
from rewards.errors import EpisodeError
from rewards.kinds import Grader, Item, make
from rewards.types import Grade


def grade_in_child(kind: str, options: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    """What a child process of `rewards.service` runs: a grade or a failure, as JSON can say it."""
    try:
        grade = _grader(kind, json.dumps(options, sort_keys=True)).grade(item)
    except (EpisodeError, ValueError) as failure:
        return {"failure": str(failure), "is_value_error": isinstance(failure, ValueError)}
    return {"grade": {**asdict(grade), "parts": dict(grade.parts)}}


@lru_cache(maxsize=64)
def _grader(kind: str, options: str) -> Grader:
    return make(kind, **json.loads(options))


class MathGrader(Grader):
    """`rewards.math`, with killable processes of its own."""

    def __init__(self, workers: int = 2, timeout_s: float = 5.0, memory_mb: int = 1024) -> None:
        from rewards.math import MathVerifier

        config = RewardsConfig(workers=workers, timeout_s=timeout_s, memory_mb=memory_mb)
        self._verifier = MathVerifier(config)

    def grade(self, item: Item) -> Grade:
        """Compare the last answer of the response with the reference."""
        return self._verifier.verify(item["response"], str(item["answer"]))

    def close(self) -> None:
        """End the verifier's processes."""
        self._verifier.close()
