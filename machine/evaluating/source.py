"""Attempts by a fleet: an inference server and problem workers, as in a climb, but no learner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from munro.envs.types import Task
from munro.evaluation.types import AttemptRow
from munro.rollout.types import Abandoned, Attempt, Group

WAVE = 2048
"""Attempts that are made in lockstep, and kept together: what a kill can lose."""
LABELLED = ("category", "severity", "need", "subset", "twin", "attack", "policy", "target")
"""Fields of a task's payload that are labels where the task names none itself."""
Item = tuple[int, Task, int, Sequence[int]]


class Solves(Protocol):
    """Problem workers, as far as kept evaluations go."""

    def attempts(self, items: Sequence[Item]) -> list[Group | Abandoned]:
        """Certain attempts at tasks: (index, task, max_response_tokens, numbers)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The tasks of one entry, as a fleet knows them.

    Example:
        Drawn(tasks={"arithmetic/17+25": task}, cap=64)
    """

    tasks: Mapping[str, Task]
    """By the names that results know them by; their places decide what they are sampled with."""
    cap: int
    """Tokens of a response."""


class FleetSource:
    """Implements `munro.evaluation.suite.Source`."""

    def __init__(self, solvers: Solves, entries: Mapping[str, Drawn]) -> None:
        self._solvers, self._entries = solvers, entries

    def attempts(self, entry: str, wanted: Sequence[tuple[str, int, int]]) -> Iterator[AttemptRow]:
        """See `Source.attempts`. A task's attempts are made together, graders may compare them."""
        drawn = self._entries[entry]
        place = {name: number for number, name in enumerate(drawn.tasks)}
        asked = [
            (task, [(run, seed) for _, run, seed in of])
            for task, of in groupby(wanted, key=lambda one: one[0])
        ]
        for wave in _waves(asked):
            # indices below 0 keep the seeds apart from those of a training stream
            items = [
                (-1 - place[task], drawn.tasks[task], drawn.cap, [run for run, _ in runs])
                for task, runs in wave
            ]
            for (name, runs), group in zip(wave, self._solvers.attempts(items), strict=True):
                yield from rows(entry, name, runs, group)


def rows(
    entry: str, name: str, runs: Sequence[tuple[int, int]], group: Group | Abandoned
) -> Iterator[AttemptRow]:
    """What came of one task.

    Args:
        entry: of the suite.
        name: of the task.
        runs: (run, seed) of each attempt, in order.
        group: the attempts; one that was given up fails all of them.
    """
    labels = labels_of(group.task)
    told: dict[str, Any] = {
        "entry": entry,
        "task": name,
        "labels": labels,
        "cluster": labels.get("cluster", ""),
        "prompt": opening(group.task),
    }
    if isinstance(group, Abandoned):
        why = f"{group.reason}: {group.detail}"
        for run, seed in runs:
            yield AttemptRow(**told, run=run, seed=seed, passed=False, reward=0.0, failed=why)
        return
    for (run, seed), attempt in zip(runs, group.attempts, strict=True):
        yield AttemptRow(**told, run=run, seed=seed, **_scored(attempt))


def _scored(attempt: Attempt) -> dict[str, Any]:
    trajectory, grade = attempt.trajectory, attempt.grade
    return {
        "passed": grade.solved,
        "reward": grade.reward,
        "parts": dict(grade.parts),
        "num_tokens": trajectory.num_sampled,
        "ending": str(trajectory.ending),
        "reply": trajectory.reply,
    }


def labels_of(task: Task) -> dict[str, str]:
    """What a task says of itself."""
    brought = {
        name: str(value)
        for name in LABELLED
        if isinstance(value := task.payload.get(name), str | int | float)
    }
    return {**brought, **{name: str(value) for name, value in task.labels.items()}}


def opening(task: Task) -> str:
    """The opening conversation as a person reads it."""
    if len(task.messages) == 1:
        return task.messages[0].text
    return "\n\n".join(f"[{message.role}]\n{message.text}" for message in task.messages)


def _waves(
    asked: Sequence[tuple[str, list[tuple[int, int]]]],
) -> Iterator[list[tuple[str, list[tuple[int, int]]]]]:
    wave: list[tuple[str, list[tuple[int, int]]]] = []
    for one in asked:
        if wave and sum(len(runs) for _, runs in wave) + len(one[1]) > WAVE:
            yield wave
            wave = []
        wave.append(one)
    if wave:
        yield wave
