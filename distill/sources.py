"""Runs as sources of traces: which steps, their index, and the traces that were chosen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.select import Index, steps_in
from envs.types import Ending
from rollout.store import RolloutStore

COLUMNS = (
    "step", "index", "attempt", "env", "task_id", "solved", "ending", "reward_total", "num_tokens"
)  # fmt: skip


class CannotDistill(ValueError):
    """These traces, this base or this place will not do; says why, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A run's traces.

    Example:
        Source(run=Path("runs/stem"), name="stem", weight=0.56, first_step=200, last_step=400)
    """

    run: Path
    """The run's folder; reading needs no lock."""
    name: str
    """What weights and filters call it; unique among the sources."""
    weight: float = 1.0
    """Share in a mixture of several, of samples or tokens; they need not add up to 1."""
    first_step: int | None = None
    """First step of the climb whose traces may be taken; where it or `last_step` is given,
    `select.window` is not asked."""
    last_step: int | None = None
    """Last such step, for example the last one before a collapse."""


def stored_steps(source: Source, window: tuple[float, float]) -> list[int]:
    """Steps of the source that traces are taken from.

    Raises:
        CannotDistill: there are none.
    """
    stored = RolloutStore(source.run / "rollouts").steps()
    if not stored:
        raise CannotDistill(
            f"{source.run} holds no rollouts: name the folder of a run that has climbed a step."
        )
    if source.first_step is None and source.last_step is None:
        found = steps_in(stored, window)
        asked = f"select.window = {list(window)}"
    else:
        first = stored[0] if source.first_step is None else source.first_step
        last = stored[-1] if source.last_step is None else source.last_step
        found = [step for step in stored if first <= step <= last]
        asked = f"steps {first} to {last}"
    if not found:
        raise CannotDistill(
            f"{asked} of {source.run} holds no checkpoint: it has rollouts of steps "
            f"{stored[0]} to {stored[-1]}. Widen the window."
        )
    return found


def read_index(sources: Sequence[Source], steps: Sequence[Sequence[int]]) -> Index:
    """The index of these steps of the sources."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    origin: list[int] = []
    for number, (source, wanted) in enumerate(zip(sources, steps, strict=True)):
        store = RolloutStore(source.run / "rollouts")
        for row in store.scan(COLUMNS, steps=wanted):
            origin.append(number)
            for name in COLUMNS:
                columns[name].append(row[name])
    codes: dict[str, int] = {}
    prompt = [
        codes.setdefault(f"{env}\x1f{task}", len(codes))
        for env, task in zip(columns["env"], columns["task_id"], strict=True)
    ]
    return Index(
        source=np.array(origin, np.int16),
        step=np.array(columns["step"], np.int32),
        place=np.array(columns["index"], np.int64),
        attempt=np.array(columns["attempt"], np.int32),
        prompt=np.array(prompt, np.int32),
        solved=np.array(columns["solved"], np.bool_),
        truncated=np.array([ending != Ending.ANSWERED for ending in columns["ending"]], np.bool_),
        reward=np.array(columns["reward_total"], np.float32),
        tokens=np.array(columns["num_tokens"], np.int32),
        sources=tuple(source.name for source in sources),
        prompts=tuple(codes),
    )


TRACE_COLUMNS = (
    "step", "index", "attempt", "env", "task", "messages", "reply", "ending", "grade_parts",
    "reason", "reward_total", "token_ids", "sampled",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One stored attempt, as far as filters and lessons look."""

    row: int
    """Its row in the index."""
    name: str
    """Its id there."""
    task: dict[str, Any]
    """As stored: "id", "messages", "tools", ..."""
    messages: list[dict[str, Any]]
    """After the opening ones: policy turns and observations."""
    reply: str
    ending: str
    parts: dict[str, float]
    """Of the grade."""
    reason: str
    """Of the grade."""
    reward: float
    token_ids: list[int]
    sampled: list[bool]


def traces(sources: Sequence[Source], index: Index) -> Iterator[Trace]:
    """Every trace of the index, in the order of the store, a few in memory at a time."""
    names = index.names()
    rows = {name: row for row, name in enumerate(names)}
    for number, source in enumerate(sources):
        store = RolloutStore(source.run / "rollouts")
        steps = np.unique(index.step[index.source == number]).tolist()
        for row in store.scan(TRACE_COLUMNS, steps=steps):
            name = f"{source.name}:{row['step']}/{row['index']}/{row['attempt']}"
            if name in rows:
                yield _trace(rows[name], name, row)


def _trace(row: int, name: str, stored: dict[str, Any]) -> Trace:
    return Trace(
        row=row,
        name=name,
        task=json.loads(stored["task"]),
        messages=json.loads(stored["messages"]),
        reply=stored["reply"],
        ending=stored["ending"],
        parts=json.loads(stored["grade_parts"]),
        reason=stored["reason"],
        reward=stored["reward_total"],
        token_ids=stored["token_ids"],
        sampled=stored["sampled"],
    )
