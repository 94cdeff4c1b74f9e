"""The evidence that no task was lost or trained twice: one line for everything that befell a task.

    out        handed to a problem worker
    group      came back as a group, waiting to be trained on
    abandoned  given up, with its reason, its name and how many attempts passed
    stale      its group got too old; it will be handed out again
    trained    part of optimizer step `step`
    resumed    the run went back to the checkpoint of `step`: what was trained later is void
    distilled  after `step` the climb went on from weights distilled onto a base

Tasks that something befell together share a line: `indices` holds ranges, [3, 6] for 3, 4 and 5.
(Before, each had a line with its `index`; such are read as well.)

The journal is written by the driver alone, and never read to run: a checkpoint's cursor says where
to go on. It is read by `audit`, by people, and by tests that kill processes. Where it has become
long it is written anew with what it comes to: a line a step.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from munro.rl.ranges import ranges
from munro.rollout.types import Outcome

MOST_LETTERS = 300
"""Of a task's name, and of what failed."""


SEGMENT_BYTES = 64 * 2**20
"""The journal is written anew when it has grown by so much."""
NEWEST = 5000
"""Tasks given up of which it then still says why, one by one."""


class Journal:
    """Appends to `path`; a half-written last line (a crash) is closed off first."""

    def __init__(self, path: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.path, self._segment_bytes = path, segment_bytes
        self._open()

    def _open(self) -> None:
        torn = False
        if self.path.exists() and self.path.stat().st_size:
            with self.path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                torn = file.read() != b"\n"
        self._file = self.path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")
        self._compacted_bytes = self._file.tell()

    def write(self, event: str, indices: Sequence[int], **more: Any) -> None:
        """Record that `event` befell these tasks; it is on its way with the next `flush`."""
        if indices:
            self._file.write(_line(event, ranges(indices), **more))

    def abandoned(self, outcome: Outcome, step: int) -> None:
        """Record that a task was given up after `step`, with what a person wants to know of it."""
        line = {
            "event": "abandoned",
            "index": outcome.index,
            "reason": outcome.reason,
            "step": step,
            "env": outcome.env,
            "task": outcome.task_id[:MOST_LETTERS],
            "pass_rate": outcome.pass_rate,
            "attempts": outcome.num_attempts,
            "detail": outcome.detail[:MOST_LETTERS],
        }
        self._file.write(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Hand what was written to the operating system: once a round, not once a task."""
        self._file.flush()

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

    def compact(self) -> None:
        """Write the journal anew with what it comes to, if it has grown by a segment since."""
        if self._file.tell() - self._compacted_bytes < self._segment_bytes:
            return
        self._file.close()
        draft = self.path.with_name(f".{self.path.name}.draft")
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(_account(_events(self.path)).lines())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        self._open()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(event: str, indices: list[list[int]], **more: Any) -> str:
    return json.dumps({"event": event, "indices": indices, **more}) + "\n"


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
    return _account(_events(path)).audit()


def _events(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:  # the line a crash cut short
                continue


@dataclass(slots=True)
class _Account:
    """What befell every task, as of some line of the journal."""

    trained: dict[int, int | list[int]] = field(default_factory=dict)
    """Task to its step; to several where it was trained on again."""
    abandoned: dict[int, int] = field(default_factory=dict)
    in_flight: set[int] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    """Of tasks given up whose own lines are gone."""
    newest: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=NEWEST))

    def follow(self, event: Mapping[str, Any]) -> None:
        """Take in a line."""
        match event["event"]:
            case "resumed":
                self._undo(event["step"])
            case "trained":
                for index in _indices(event):
                    before = self.trained.get(index)
                    self.trained[index] = (
                        event["step"] if before is None else [*_steps(before), event["step"]]
                    )
                    self.in_flight.discard(index)
            case "abandoned":
                self._give_up(event)
            case "out" | "group" | "stale":
                self.in_flight.update(_indices(event))

    def _give_up(self, event: Mapping[str, Any]) -> None:
        for index in _indices(event):
            # a task given up between checkpoints s and s + 1 is remembered from s + 1 on
            self.abandoned[index] = event["step"] + 1
            self.in_flight.discard(index)
        self.reasons.update(event.get("reasons", {}))
        if "index" in event:
            if len(self.newest) == NEWEST:
                self.reasons[self.newest[0].get("reason", "")] += 1
            self.newest.append(dict(event))

    def _undo(self, step: int) -> None:
        kept = {i: [s for s in _steps(of) if s <= step] for i, of in self.trained.items()}
        self.trained = {i: s[0] if len(s) == 1 else s for i, s in kept.items() if s}
        self.abandoned = {i: s for i, s in self.abandoned.items() if s <= step}
        self.in_flight = set()

    def lines(self) -> Iterator[str]:
        """A journal that comes to the same."""
        trained: defaultdict[int, list[int]] = defaultdict(list)
        for index, of in self.trained.items():
            for step in _steps(of):
                trained[step].append(index)
        for step, indices in sorted(trained.items()):
            yield _line("trained", ranges(indices), step=step)
        told = {event["index"] for event in self.newest}
        given_up: defaultdict[int, list[int]] = defaultdict(list)
        for index, step in self.abandoned.items():
            if index not in told:
                given_up[step - 1].append(index)
        reasons = dict(self.reasons)
        for step, indices in sorted(given_up.items()):
            yield _line("abandoned", ranges(indices), step=step, reasons=reasons)
            reasons = {}
        for event in self.newest:
            if self.abandoned.get(event["index"]) == event["step"] + 1:
                yield json.dumps(event) + "\n"
        if self.in_flight:
            yield _line("out", ranges(self.in_flight))

    def audit(self) -> Audit:
        """What it says about the run."""
        trained = {index: _steps(of) for index, of in self.trained.items()}
        known = trained.keys() | self.abandoned.keys()
        handed_out = range(max(known, default=-1) + 1)
        return Audit(
            trained={index: steps[-1] for index, steps in trained.items()},
            abandoned=frozenset(self.abandoned),
            trained_twice=tuple(i for i, steps in trained.items() if len(steps) > 1),
            skipped=tuple(i for i in handed_out if i not in known and i not in self.in_flight),
            in_flight=frozenset(self.in_flight),
        )


def _account(events: Iterable[Mapping[str, Any]]) -> _Account:
    account = _Account()
    for event in events:
        account.follow(event)
    return account


def _indices(event: Mapping[str, Any]) -> Iterator[int]:
    if "index" in event:
        yield event["index"]
        return
    for start, stop in event["indices"]:
        yield from range(start, stop)


def _steps(of: int | list[int]) -> list[int]:
    return of if isinstance(of, list) else [of]
