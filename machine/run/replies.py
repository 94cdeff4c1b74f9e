"""Replies that nothing could be learned from, as lines for a console."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from munro.rollout.types import Abandoned, Attempt

SHOWN = 3
LETTERS = 400
"""Of a text: its beginning and, twice as much of it, its end, where the answer is."""


def replies(dropped: Sequence[Abandoned], most: int = SHOWN) -> list[str]:
    """A reply and its grade of the newest tasks that were given up, of different reasons first.

    Empty where attempts are not kept (`rollout.keep_dropped = 0`).
    """
    shown = [outcome for outcome in reversed(dropped) if outcome.attempts]
    seen: set[str] = set()
    first = []
    for outcome in shown:
        if outcome.reason not in seen:
            seen.add(outcome.reason)
            first.append(outcome)
    rest = [outcome for outcome in shown if all(outcome is not one for one in first)]
    return [line for outcome in islice([*first, *rest], most) for line in _lines(outcome)]


def _lines(outcome: Abandoned) -> Iterator[str]:
    # the attempt that came nearest to what the gate wanted: the best of what is too hard, the
    # worst of what is too easy
    is_easy = outcome.reason.value.startswith("too_easy")
    attempt = (min if is_easy else max)(outcome.attempts, key=lambda one: one.grade.reward)
    passed = round((outcome.pass_rate or 0.0) * outcome.num_attempts)
    what = outcome.reason.replace("_", " ")
    yield f"{what}: {outcome.task.env}/{outcome.task.id}, {passed} of {outcome.num_attempts} passed"
    opening = "\n".join(message.content for message in outcome.task.messages)
    yield f"    asked  {shortened(opening)}"
    yield f"    reply  {shortened(attempt.trajectory.reply) or '(nothing)'}"
    yield f"    grade  {_grade(attempt)}"


def _grade(attempt: Attempt) -> str:
    grade, told = attempt.grade, attempt.trajectory
    verdict = "passed" if grade.solved else "failed"
    parts = "".join(f", {name} {value:.4g}" for name, value in grade.parts.items())
    why = f": {shortened(grade.reason)}" if grade.reason else ""
    how = f"{told.num_sampled} tokens, {told.ending.value.replace('_', ' ')}"
    return f"{grade.reward:.4g}, {verdict}{parts}{why} ({how})"


def shortened(text: str) -> str:
    """A long text without its middle, saying how much of it is missing."""
    head, tail = LETTERS // 3, LETTERS - LETTERS // 3
    missing = len(text) - head - tail
    if missing <= 0:
        return text
    return f"{text[:head]} [… {missing:,} characters left out …] {text[-tail:]}"
