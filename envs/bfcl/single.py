"""Tasks of one turn: the right calls, each once and in any order; or none at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from munro.envs.base import Episode
from munro.envs.bfcl.matching import Made, gold_call, num_right
from munro.envs.bfcl.package import RESTRAINT, Row
from munro.envs.bfcl.schemas import shown_name
from munro.envs.thoughts import without_thoughts
from munro.envs.tool_use import strict_json
from munro.envs.types import CallRecord, Message, Trajectory
from munro.rewards.types import Grade

DECLINED = "None of the tools that I have can do that."
"""What gold says where no call is right."""


class OneTurn(Episode):
    """One attempt; what it calls is looked at, and never carried out."""

    def __init__(self, row: Row, category: str) -> None:
        self._row, self._category = row, category

    async def reply(self, message: Message) -> None:  # noqa: ARG002
        return None

    async def grade(self, trajectory: Trajectory) -> Grade:
        if self._category in RESTRAINT:
            return restrained(trajectory)
        return matched(self._row, trajectory.calls)


def restrained(trajectory: Trajectory) -> Grade:
    """No call may be made, not even one that cannot be read; something must be said."""
    said = without_thoughts(trajectory.reply).strip()
    passed = not trajectory.calls and bool(said)
    reason = "" if passed else "no tool fits, and one was called" if said else "nothing was said"
    return Grade(reward=float(passed), passed=passed, reason=reason)


def matched(row: Row, calls: Sequence[CallRecord]) -> Grade:
    """Exactly the wanted calls.

    Returns:
        A grade whose part `matched` is the F1 of the wanted calls and those that were made.
    """
    wanted = row["ground_truth"]
    made = [call for call in map(_read, calls) if call is not None]
    right = num_right(wanted, made, _schemas(row))
    passed = right == len(wanted) == len(calls)
    reason = "" if passed else f"{right} of {len(wanted)} calls are right, of {len(calls)} made"
    share = 2 * right / max(len(wanted) + len(calls), 1)
    return Grade(reward=float(passed), passed=passed, parts={"matched": share}, reason=reason)


def gold_turn(row: Row, category: str) -> list[Made]:
    """The calls of a perfect turn."""
    if category in RESTRAINT:
        return []
    return [gold_call(one, _schemas(row)) for one in row["ground_truth"]]


def is_sound(row: Row) -> bool:
    """Whether the answers that the package gives can be given at all."""
    wanted = row["ground_truth"]
    made = [gold_call(one, _schemas(row)) for one in wanted]
    return num_right(wanted, made, _schemas(row)) == len(wanted)


def _schemas(row: Row) -> dict[str, Any]:
    return {shown_name(tool["name"]): tool["parameters"] for tool in row["function"]}


def _read(made: CallRecord) -> Made | None:
    if made.error:
        return None
    try:
        arguments: Any = strict_json(made.arguments)
    except (ValueError, RecursionError):
        return None
    return (made.name, arguments) if isinstance(arguments, Mapping) else None
