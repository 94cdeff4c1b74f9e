"""The evidence that no task was lost or trained twice: one line for everything that befell a task.

    out        handed to a problem worker
    group      came back as a group, waiting to be trained on
    abandoned  given up, with its reason, its name and how many attempts passed
    stale      its group got too old; it will be handed out again
    trained    part of optimizer step `step`
    resumed    the run went back to the checkpoint of `step`: what was trained later is void
    distilled  after `step` the climb went on from weights distilled onto a base

The journal is written by the driver alone, and never read to run: a checkpoint's cursor says where
to go on. It is read by `audit`, by people, and by tests that kill processes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munro.rollout.types import Abandoned

MOST_LETTERS = 300
"""Of a task's name, and of what failed."""


class Journal:
    """Appends to `path`; a half-written last line (a crash) is closed off first."""

    def __init__(self, path: Path) -> None:
        torn = path.exists() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
        self._file = path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")

    def write(self, event: str, indices: Iterable[int], **more: Any) -> None:
        """Record that `event` befell each of these tasks."""
        for index in indices:
            self._file.write(json.dumps({"event": event, "index": index, **more}) + "\n")
        self._file.flush()

    def abandoned(self, outcome: Abandoned, step: int) -> None:
        """Record that a task was given up after `step`, with what a person wants to know of it."""
        self.write(
            "abandoned",
            [outcome.index],
            reason=outcome.reason,
            step=step,
            env=outcome.task.env,
            task=outcome.task.id[:MOST_LETTERS],
            pass_rate=outcome.pass_rate,
            attempts=outcome.num_attempts,
            detail=outcome.detail[:MOST_LETTERS],
        )

    def resumed(self, step: int) -> None:
        """Record that the run went back to the checkpoint of `step`."""
        self._file.write(json.dumps({"event": "resumed", "step": step}) + "\n")
        self.commit()

    def distilled(self, step: int, base: str) -> None:
        """Record that the climb goes on after `step` from a distillation onto `base`."""
        self._file.write(json.dumps({"event": "distilled", "step": step, "base": base}) + "\n")
        self.commit()

    def commit(self) -> None:
        """Reach the disk: called when a step is done, before its checkpoint."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What a journal says about a whole run."""

    trained: Mapping[int, int]
    """Task index to the optimizer step whose weights carry it."""
    abandoned: frozenset[int]
    trained_twice: tuple[int, ...]
    """Tasks in two optimizer steps of the surviving line of weights. Must be empty."""
    skipped: tuple[int, ...]
    """Tasks before the last trained or abandoned one that are neither, and not in flight either."""
    in_flight: frozenset[int]
    """Handed out last, nothing heard yet."""


def audit(path: Path) -> Audit:
    """Follow every task through the journal, undoing what each resume undid."""
    events: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:  # the line a crash cut short
            continue
    return _follow(events)


def _follow(events: Iterable[Mapping[str, Any]]) -> Audit:
    trained: dict[int, list[int]] = {}
    abandoned: dict[int, int] = {}
    in_flight: set[int] = set()
    for event in events:
        if event["event"] == "resumed":
            step = event["step"]
            trained = {i: kept for i, s in trained.items() if (kept := [x for x in s if x <= step])}
            abandoned = {i: s for i, s in abandoned.items() if s <= step}
            in_flight = set()
            continue
        if event["event"] == "distilled":
            continue
        index = event["index"]
        match event["event"]:
            case "trained":
                trained.setdefault(index, []).append(event["step"])
                in_flight.discard(index)
            case "abandoned":
                # a task given up between checkpoints s and s + 1 is remembered from s + 1 on
                abandoned[index] = event["step"] + 1
                in_flight.discard(index)
            case "out" | "group" | "stale":
                in_flight.add(index)
    known = trained.keys() | abandoned.keys()
    handed_out = range(max(known, default=-1) + 1)
    return Audit(
        trained={i: steps[-1] for i, steps in trained.items()},
        abandoned=frozenset(abandoned),
        trained_twice=tuple(i for i, steps in trained.items() if len(steps) > 1),
        skipped=tuple(i for i in handed_out if i not in known and i not in in_flight),
        in_flight=frozenset(in_flight),
    )
