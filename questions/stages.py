"""A stage's work, done once: killed anywhere and begun again, it leaves the same bytes.

    units ──► parts (one of each unit, renamed into place) ──► NAME.parquet, NAME.dropped.parquet

A unit is what may be lost by a kill: a document, or all questions together. What a stage writes
carries a key, a digest of all that it depends on, so that what was done is found again and a
changed recipe redoes exactly what follows from it. Parts are joined in the order of their units.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from munro.questions import tables
from munro.questions.errors import QuestionsError
from munro.questions.types import Dropped

VERSION = 2
"""Raised whenever the code would write something else for the same recipe and documents."""
STAGES, PARTS = "stages", "parts"
MARK = ".munro-questions"
"""File that says that a build made this folder; locked while one runs."""

Record = TypeVar("Record")
OnProgress = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a unit."""

    kept: list[Any] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A piece of a stage's work."""

    name: str
    """The same in every run; parts are joined in the order of units."""
    work: Callable[[], Outcome]


def digest_of(*state: Any) -> str:
    """A short name for a state."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]


class InTurn(Generic[Record]):
    """Rows by their places, asked for in order, each read when it is asked for."""

    def __init__(self, rows: Iterator[Record]) -> None:
        self._rows, self._at = rows, 0

    def take(self, first: int, count: int) -> list[Record]:
        """So many from there on; those before are passed over."""
        for _ in range(first - self._at):
            next(self._rows)
        some = list(islice(self._rows, count))
        self._at = first + len(some)
        return some


def slices(
    rows: Iterator[Record], total: int, size: int, work: Callable[[list[Record]], Outcome]
) -> list[Unit]:
    """A unit for so many rows each, in order; rows of units that are done are not held."""
    turn = InTurn(rows)

    def done(first: int) -> Outcome:
        return work(turn.take(first, size))

    return [
        Unit(name=f"{number:06}", work=partial(done, first))
        for number, first in enumerate(range(0, total, size))
    ]


class Build:
    """A folder that stages leave their files in. Use as a context manager.

    Raises (when entered):
        QuestionsError: another process builds here, or the folder holds something else.
    """

    def __init__(self, out: str, *, on_progress: OnProgress | None = None) -> None:
        self.out = Path(out).expanduser()
        self.say: OnProgress = on_progress or (lambda _line: None)
        self.keys: dict[str, str] = {}
        """By stage: what its file was made from."""

    def __enter__(self) -> Build:
        ours = self.out / MARK
        if not ours.exists() and self.out.exists() and any(self.out.iterdir()):
            raise QuestionsError(
                f"{self.out} is there already and was not made by a build of questions: give this "
                "one an `out` of its own."
            )
        self.out.mkdir(parents=True, exist_ok=True)
        self._lock = ours.open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise QuestionsError(
                f"another process is building into {self.out}: wait for it, or give this one "
                "another `out`."
            ) from None
        return self

    def __exit__(self, *failure: object) -> None:
        self._lock.close()

    def file(self, stage: str) -> Path:
        """Where a stage's rows are."""
        return self.out / STAGES / f"{stage}.parquet"

    def dropped_file(self, stage: str) -> Path:
        """Where what a stage left out is."""
        return self.out / STAGES / f"{stage}.dropped.parquet"

    def run(
        self,
        stage: str,
        record: type[Any],
        state: Any,
        units: Callable[[], Sequence[Unit]],
        *,
        at_once: int = 1,
    ) -> None:
        """Do a stage unless it was done.

        Args:
            stage: its name.
            record: what a row of it is.
            state: all that its rows depend on, as JSON can say it; the stages before are added.
            units: called only where there is something to do.
            at_once: units that may be under way together.
        """
        key = digest_of(VERSION, stage, state, list(self.keys.items()))
        self.keys[stage] = key
        files = (self.dropped_file(stage), self.file(stage))
        if all(tables.key_of(file) == key for file in files):
            self._remove_parts(stage)  # a kill may have left them
            return
        self.say(f"{stage}: begins")
        folder = self.out / PARTS / f"{stage}-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        todo = units()
        parts = [folder / unit.name for unit in todo]
        self._do(stage, record, key, folder, todo, at_once)
        # what a stage left out is written first: its rows are what says that it was done
        kinds: tuple[type[Any], ...] = (Dropped, record)
        for file, kind, end in zip(files, kinds, ENDS, strict=True):
            read = (tables.read(Path(f"{part}{end}"), kind) for part in parts)
            tables.write(file, kind, chain.from_iterable(read), key)
        self.say(f"{stage}: {self._figures(stage)}")
        self._remove_parts(stage)

    def rows(self, stage: str, record: type[Record]) -> Iterator[Record]:
        """What a stage kept."""
        return tables.read(self.file(stage), record)

    def dropped(self, stage: str) -> Iterator[Dropped]:
        """What it left out."""
        return tables.read(self.dropped_file(stage), Dropped)

    def _do(
        self,
        stage: str,
        record: type[Any],
        key: str,
        folder: Path,
        units: Sequence[Unit],
        at_once: int,
    ) -> None:
        """Write the parts that are missing."""

        def done(unit: Unit) -> None:
            dropped, kept = (folder / f"{unit.name}{end}" for end in ENDS)
            if kept.is_file():  # the last to be written
                return
            outcome = unit.work()
            tables.write(dropped, Dropped, outcome.dropped, key)
            tables.write(kept, record, outcome.kept, key)

        if at_once == 1:
            for number, unit in enumerate(units, 1):
                done(unit)
                self._tell(stage, number, len(units))
            return
        with ThreadPoolExecutor(at_once, f"questions-{stage}") as threads:
            futures: list[Future[None]] = [threads.submit(done, unit) for unit in units]
            try:
                for number, future in enumerate(futures, 1):
                    future.result()
                    self._tell(stage, number, len(units))
            except BaseException:
                threads.shutdown(wait=True, cancel_futures=True)
                raise

    def _remove_parts(self, stage: str) -> None:
        for folder in (self.out / PARTS).glob(f"{stage}-*"):
            shutil.rmtree(folder)

    def _tell(self, stage: str, number: int, total: int) -> None:
        if total > 1 and (number == total or number * 10 % total < 10):
            self.say(f"{stage}: {number:,} of {total:,}")

    def _figures(self, stage: str) -> str:
        kept, dropped = tables.num_rows(self.file(stage)), tables.num_rows(self.dropped_file(stage))
        return f"{kept:,} kept, {dropped:,} left out"


ENDS = (".dropped.parquet", ".parquet")
