"""What a build has done, one JSON line a stage and candidate, so that it can go on after a kill.

A candidate is done when it was kept or dropped; one that was in hand when the process died is begun
anew. What this machine itself shows of the fixes takes long to read and is a line of its own. A
last line that was cut off is no line.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from munro.envs.swe_build.errors import BadRepository, Dropped
from munro.envs.swe_build.leaks import Hit

NAME = "journal.jsonl"
KEPT, DROPPED, PASSED = "kept", "dropped", "passed"
STAGES = (
    "commits",
    "candidates",
    "suite runs",
    "F2P",
    "stable",
    "strong",
    "leak-free",
    "kept",
)
"""In the order in which a candidate goes through them; a drop names the one it did not reach."""
MOST_REASONS = 3


@dataclass(slots=True)
class Journal:
    """The file, and what it says. Safe to write from many threads."""

    path: Path
    settings: Mapping[str, str]
    """What tasks depend on: a build goes on only with the same."""
    done: dict[str, dict[str, str]] = field(default_factory=dict)
    """The last line of each candidate that was kept or dropped."""
    shown: dict[str, list[Hit]] = field(default_factory=dict)
    """What the machine shows of each fix; none of a candidate that was not looked for."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, folder: Path, settings: Mapping[str, str], *, resume: bool) -> Journal:
        """Begin a journal, or go on with the one that is there.

        Raises:
            BadRepository: there is one of other settings, or `resume` was not said.
        """
        path = folder / NAME
        journal = cls(path, dict(settings))
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            journal._write({"settings": dict(settings)})
            return journal
        if not resume:
            raise BadRepository(
                f"{folder} holds a build already: add --resume to go on with it, or name another "
                "--out"
            )
        for row in _rows(path):
            if "settings" in row:
                _compare(folder, row["settings"], settings)
            elif row.get("outcome") in (KEPT, DROPPED):
                journal.done[row["candidate"]] = row
            elif "shown" in row:
                journal.shown |= {
                    name: [Hit(*hit) for hit in hits] for name, hits in row["shown"].items()
                }
        return journal

    def note(self, candidate: str, stage: str, outcome: str, *, cheap: bool = False) -> None:
        """Write that a candidate passed a stage, or was kept.

        Args:
            cheap: it would be found out again at once, so nobody waits for the disk.
        """
        self._add({"candidate": candidate, "stage": stage, "outcome": outcome}, waits=not cheap)

    def drop(self, candidate: str, dropped: Dropped, *, cheap: bool = False) -> None:
        """Write that a candidate fell out, and why."""
        row = {"candidate": candidate, "stage": dropped.stage, "outcome": DROPPED}
        row |= {"reason": dropped.reason, "detail": dropped.detail}
        self._add(row, waits=not cheap)

    def show(self, hits: Mapping[str, Sequence[Hit]]) -> None:
        """Write what the machine shows of fixes, so that it need not be read again."""
        self.shown |= {name: list(some) for name, some in hits.items()}
        found = {name: [(hit.path, hit.why) for hit in some] for name, some in hits.items()}
        self._write({"shown": found})

    def _add(self, row: dict[str, str], *, waits: bool) -> None:
        self._write(row, waits=waits)
        if row["outcome"] in (KEPT, DROPPED):
            self.done[row["candidate"]] = row

    def _write(self, row: Mapping[str, object], *, waits: bool = True) -> None:
        line = json.dumps(row, sort_keys=True) + "\n"
        with self._lock, self.path.open("ab") as file:
            _end_line(file.fileno())
            file.write(line.encode())
            file.flush()
            if waits:
                os.fsync(file.fileno())

    def funnel(self, num_commits: int) -> list[str]:
        """The funnel as a table of lines, widest first, with the commonest reasons of each loss."""
        return list(funnel(self.done.values(), num_commits))


def _end_line(descriptor: int) -> None:
    """Close a line that a killed process left open, so that the next one is not lost with it."""
    size = os.fstat(descriptor).st_size
    if size:
        with open(f"/proc/self/fd/{descriptor}", "rb") as file:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                os.write(descriptor, b"\n")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        if isinstance(row, dict):
            yield row


def _compare(folder: Path, old: object, new: Mapping[str, str]) -> None:
    if not isinstance(old, dict):
        raise BadRepository(f"{folder / NAME} is no journal of a build: name another --out")
    for key in sorted({*old, *new}):
        if old.get(key, "") != new.get(key, ""):  # what there was no option for was not given
            raise BadRepository(
                f"{folder} was begun with {key} = {old.get(key)!r}, now it is {new.get(key)!r}: "
                "give the same again, or name another --out"
            )


def funnel(rows: Collection[Mapping[str, str]], num_commits: int) -> Iterator[str]:
    """How many reached each stage, and why the others did not."""
    lost: dict[str, Counter[str]] = {stage: Counter() for stage in STAGES}
    for row in rows:
        if row["outcome"] == DROPPED:
            lost[row["stage"]][row["reason"]] += 1
    left = max(num_commits, len(rows))
    yield f"{'commits':<12}{left:>7}"
    looked = len(rows)
    if looked < left:
        yield f"{'looked at':<12}{looked:>7}"
    width, left = max(looked, 1), looked
    for stage in STAGES[1:]:
        before, left = left, left - sum(lost[stage].values())
        share = left / before if before else 0.0
        yield f"{stage:<12}{left:>7}{share:>8.1%} of those before{left / width:>8.1%} of all"
        for reason, count in sorted(lost[stage].items(), key=lambda one: (-one[1], one[0]))[
            :MOST_REASONS
        ]:
            yield f"{'':<14}{count:>5}  {reason}"
