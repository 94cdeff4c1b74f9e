"""What the driver is told of a task: figures of its attempts, made where the attempts are.

Every figure that it needs is there attempt by attempt and not summed, so that what the driver makes
of them is what it would make of the attempts themselves, to the last bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import fields
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import Ending
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.combine.watch import FAILED, SEEN
from munro.rollout.types import Abandoned, Attempt, Calls, Group, Outcome, Place, Worth

MOST_PARTS = 32
"""Names of grade parts that become metrics: a grader may make up a name for every test."""
OTHER = "none of them"
"""What calls of tools that the task does not offer count as."""
REWARDS = tuple(part.name for part in fields(RewardBreakdown))
TOLD = ("sampled", "tokens", "cut", "turns", "forks", "ending", "solved")
FIGURES = (*REWARDS, *TOLD)
"""Rows of `Outcome.figures`: parts of the reward; tokens that the policy wrote, and all of them;
positions whose nucleus was cut; turns; forks; place in `ENDINGS`; the verdict that counts."""
ENDINGS = tuple(Ending)
ROW = {name: row for row, name in enumerate(FIGURES)}

Weigh = Callable[[Group], Worth]
"""What a learner must know of a group (`munro.rl.batch.weighed`)."""


def told(found: Group | Abandoned, weigh: Weigh | None, place: Place | None = None) -> Outcome:
    """What the driver is told of a task.

    Args:
        found: what became of it.
        weigh: for a learner; None where there is none, as in an evaluation.
        place: where the rest lies.
    """
    if isinstance(found, Abandoned):
        return Outcome(
            index=found.index,
            env=found.task.env,
            task_id=found.task.id,
            reason=found.reason,
            detail=found.detail,
            pass_rate=found.pass_rate,
            num_attempts=found.num_attempts,
            num_unscored=found.num_unscored,
            num_sampled=found.num_sampled,
            place=place,
        )
    figures = _figures(found.attempts)
    return Outcome(
        index=found.index,
        env=found.task.env,
        task_id=found.task.id,
        detail=found.detail,
        pass_rate=found.pass_rate,
        num_attempts=len(found.attempts),
        num_unscored=found.num_unscored,
        num_resumed=found.num_resumed,
        num_sampled=int(figures[ROW["sampled"]].sum()),
        oldest_version=found.oldest_version,
        figures=figures,
        parts=_parts(found.attempts),
        offers_tools=bool(found.task.tools),
        calls=_calls(found),
        worth=weigh(found) if weigh else None,
        place=place,
    )


def figure(outcome: Outcome, name: str) -> list[float]:
    """One of `FIGURES`, of every attempt of a group."""
    assert outcome.figures is not None, "of a group"
    return [float(value) for value in outcome.figures[ROW[name]]]


def _figures(attempts: Sequence[Attempt]) -> NDArray[np.float64]:
    rows = [
        [
            *(getattr(attempt.reward, part) for part in REWARDS),
            attempt.trajectory.num_sampled,
            len(attempt.trajectory.token_ids),
            attempt.trajectory.num_cut,
            _num_turns(attempt),
            len(attempt.trajectory.forks),
            ENDINGS.index(attempt.trajectory.ending),
            attempt.grade.solved,
        ]
        for attempt in attempts
    ]
    return np.ascontiguousarray(np.array(rows, np.float64).T)


def _num_turns(attempt: Attempt) -> int:
    ours = [one for one in attempt.trajectory.messages if one.role == "assistant"]
    return sum(message.is_sampled for message in ours) or len(ours)


def _parts(attempts: Sequence[Attempt]) -> dict[str, tuple[float | None, ...]]:
    """Of names that sort first, for those of a whole step that do are among them."""
    names = {name for attempt in attempts for name in attempt.grade.parts}
    second = {name for name in names if name.endswith((f"/{SEEN}", f"/{FAILED}"))}
    watched = {name.rpartition("/")[0] for name in second} & names
    kept = {*sorted(names - second)[:MOST_PARTS], *second, *watched}
    order = dict.fromkeys(name for attempt in attempts for name in attempt.grade.parts)
    return {
        name: tuple(attempt.grade.parts.get(name) for attempt in attempts)
        for name in order
        if name in kept
    }


def _calls(group: Group) -> Calls:
    records = [record for attempt in group.attempts for record in attempt.trajectory.calls]
    offered = {str(tool.get("function", tool).get("name")) for tool in group.task.tools}
    spent: defaultdict[str, float] = defaultdict(float)
    for record in records:
        spent[record.name if record.name in offered else OTHER] += record.seconds
    return Calls(
        num=len(records),
        failed=sum(not one.ok for one in records),
        malformed=sum(one.is_malformed for one in records),
        seconds=dict(spent),
    )


def mean_tokens(outcome: Outcome) -> float:
    """Tokens of an attempt, prompt included, on average over a group."""
    return fmean(figure(outcome, "tokens"))
