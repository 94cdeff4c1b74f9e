"""What a task's own tests say, read as data.

reward.json    a number, or a table of numbers; `reward` is what is paid, or the only one there is
reward.txt     a number
pytest         the summary that terminal-bench reads: all passed, and at least one

Whatever else there is, or nothing, is no reward: 0.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from munro.rewards.errors import EnvironmentFailure
from munro.rewards.types import Grade

MOST_BYTES = 1 << 16
"""Of a reward's file."""
_OUTCOME = re.compile(r"^(PASSED|FAILED|ERROR|XPASS|XFAIL|SKIPPED) (\S.*)$", re.MULTILINE)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def grade_of(found: Mapping[str, bytes], wanted: str, task: str, said: str) -> Grade:
    """The grade of the files that tests wrote.

    Args:
        found: contents of reward.json and reward.txt, those of them that are there.
        wanted: which of several rewards is paid.
        said: the last thing that the tests printed, for the reason.

    Raises:
        EnvironmentFailure: there are several rewards, and none of that name.
    """
    if "reward.json" in found:
        parts = _table(found["reward.json"])
    elif "reward.txt" in found:
        value = _number(found["reward.txt"].decode(errors="replace").strip())
        parts = None if value is None else {"reward": value}
    else:
        return Grade(reward=0.0, passed=False, reason=f"the tests wrote no reward: {said}")
    if not parts:
        return Grade(reward=0.0, passed=False, reason=f"what the tests wrote is no reward: {said}")
    if wanted in parts:
        reward = parts[wanted]
    elif len(parts) == 1:
        reward = next(iter(parts.values()))
    else:
        raise EnvironmentFailure(
            f"the tests of {task} wrote {', '.join(sorted(parts))[:200]}, and none of them is "
            f"{wanted!r}: name the one that is paid by reward = 'NAME'"
        )
    return Grade(reward=reward, passed=reward >= 1, parts=parts, reason=said)


def _table(contents: bytes) -> dict[str, float] | None:
    try:
        told = json.loads(contents)
    except (ValueError, RecursionError):
        return None
    pairs = told.items() if isinstance(told, dict) else [("reward", told)]
    found = {}
    for name, value in pairs:
        # as text: a whole number of JSON's may be too large for a float
        is_number = isinstance(value, int | float)
        if not is_number or (number := _number(str(value + 0))) is None:
            return None
        found[str(name)[:80]] = number
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def grade_of_summary(said: str, status: int) -> Grade:
    """The grade of what pytest printed, as terminal-bench has it: every test that it names passed.

    A run whose status is not 0 has not passed, whatever it printed.
    """
    _, is_there, summary = _ANSI.sub("", said).rpartition("short test summary info")
    outcomes = [(word, name) for word, name in _OUTCOME.findall(summary if is_there else "")]
    passed = [name for word, name in outcomes if word in ("PASSED", "XFAIL")]
    rate = len(passed) / len(outcomes) if outcomes else 0.0
    is_passed = bool(passed) and rate == 1 and status == 0
    reason = f"{len(passed)} of {len(outcomes)} tests passed, exit status {status}"
    parts = {"tests": rate}
    return Grade(reward=float(is_passed), passed=is_passed, parts=parts, reason=reason)
