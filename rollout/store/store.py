"""Every trajectory of a run, on disk: Parquet, one row an attempt.

The store is what the report browses, what `munro replay` learns from again, and what
self-distillation selects its traces from. Reading gives back the very arrays that were written.

    rollouts/step-000512.parquet            a step, a row group for each of its groups
    rollouts/steps-000001-000064.parquet    earlier steps, packed together by and by

A file is written beside, flushed to the disk and renamed, so it is whole or not there, whenever the
process or the machine dies. Packing writes the new file whole before the first of the old ones
goes; where both are there, the step's own file counts, so a kill between the two loses nothing and
doubles nothing, and the next packing clears up. A file that lost its end all the same (a copy that
broke off, a disk that failed) is still read up to its last whole row group: see `store_files`.

One process writes (the run's lock sees to that); others may read meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from munro.rollout.store import files as store_files
from munro.rollout.store import rows as store_rows
from munro.rollout.store.files import Part
from munro.rollout.store.rows import SCHEMA
from munro.rollout.types import Group

FILE = re.compile(r"steps?-(\d{6,})(?:-(\d{6,}))?\.parquet")

STEPS_PACKED = 64
"""Steps of a packed file; a step is packed once as many newer ones stand loose as well."""
LARGE_BYTES = 64 * 2**20
"""A step's file of this size is not worth packing."""
ROWS_AT_ONCE, BYTES_AT_ONCE = 8192, 32 * 2**20
"""Bounds of a packed file's row group: what a reader needs memory for."""


class StoreError(Exception):
    """A stored step cannot be read or written; says which file, and what to do."""

    is_sentence = True


class RolloutStore:
    """The rollouts of one run."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._packed: dict[tuple[str, int, int], tuple[int, ...]] = {}

    def write(
        self,
        step: int,
        groups: Sequence[Group],
        advantages: Sequence[Sequence[float | None]],
        given_up: Sequence[str] | None = None,
    ) -> Path:
        """Store one step's groups, replacing what that step held, and pack old steps when due.

        Payload values that JSON does not know are kept as their text, and tuples as lists.

        Args:
            step: optimizer step that the groups go into.
            groups: all of them.
            advantages: one per attempt of each group; None where nothing is learned from it.
            given_up: why each group was, in a store of such.

        Raises:
            StoreError: the disk is full or not writable.
        """
        path = self.folder / f"step-{step:06d}.parquet"
        reasons: Sequence[str | None] = given_up or [None] * len(groups)
        parts = list(zip(groups, advantages, reasons, strict=True))

        def tables() -> Iterator[pa.Table]:
            # a row group per group: whoever reads needs memory for one of them at a time
            return (store_rows.table(step, *part) for part in parts)

        with _told(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            store_files.write(path, [step], tables, most_groups=len(parts))
        if len(self._loose()) >= 2 * STEPS_PACKED:
            self.pack(keep=STEPS_PACKED)
        return path

    def pack(self, *, keep: int = 0) -> list[int]:
        """Put loose steps together into files of up to `STEPS_PACKED`, and clear up after a kill.

        Args:
            keep: newest steps that stay as they are.

        Returns:
            The steps that were packed.

        Raises:
            StoreError: the disk is full or not writable, or a file is damaged.
        """
        packed: list[int] = []
        self._remove_drafts()
        for file in self._packed_files():
            if doubled := sorted(set(self._steps_of(file)) & set(self._loose())):
                # a kill came before the loose files went, or a step was taken again since
                kept = sorted({*self._steps_of(file), *doubled})
                self._pack_into(file, kept)
                packed += doubled
        loose = self._loose()
        small = [
            step
            for step in sorted(loose)[: max(len(loose) - keep, 0)]
            if loose[step].stat().st_size < LARGE_BYTES
        ]
        for first in range(0, len(small), STEPS_PACKED):
            some = small[first : first + STEPS_PACKED]
            name = f"steps-{some[0]:06d}-{some[-1]:06d}.parquet"
            self._pack_into(self.folder / name, some)
            packed += some
        return packed

    def read(self, step: int) -> list[Group]:
        """The groups of one step, as they were written.

        Raises:
            StoreError: the step was not stored, or its rows are damaged.
        """
        with self._open(step) as part:
            if part.lost([step]):
                raise StoreError(_cut(part, [step]))
            return list(store_rows.groups(part.read(step)))

    def steps(self) -> list[int]:
        """Steps that are stored, in order."""
        return sorted(self._places())

    def scan(
        self,
        columns: Sequence[str],
        where: pc.Expression | None = None,
        *,
        steps: Sequence[int] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Rows of all steps, in order, reading only what is asked for.

        Args:
            columns: names from `SCHEMA`.
            where: a filter over any columns, made with `field`.
            steps: only these steps; all where left out.

        Raises:
            StoreError: a file is damaged, or a column does not exist.

        Example:
            store.scan(["trace", "reply"], where=field("solved") & (field("env") == "arithmetic"))
        """
        for batch in self.batches(columns, where, steps=steps):
            yield from batch.to_pylist()

    def batches(
        self,
        columns: Sequence[str],
        where: pc.Expression | None = None,
        *,
        steps: Sequence[int] | None = None,
        on_cut: Callable[[str], None] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """As `scan`, in Arrow's own form: for a store that is larger than memory.

        Args:
            columns, where, steps: as for `scan`.
            on_cut: told in a sentence of every file whose end is missing, whose whole row groups
                are then read all the same; without it such a file is an error.

        Raises:
            StoreError: as `scan`.
        """
        unknown = set(columns) - set(SCHEMA.names)
        if unknown:
            raise StoreError(
                f"the rollout store has no column {', '.join(sorted(unknown))}. "
                f"It has {', '.join(SCHEMA.names)}."
            )
        places = self._places()
        rest = sorted(places) if steps is None else list(steps)
        while rest:
            with self._open(rest[0], places) as part:
                here = [step for step in rest if places.get(step) == part.path] or rest[:1]
                if part.lost(here):
                    if on_cut is None:
                        raise StoreError(_cut(part, here))
                    on_cut(_cut(part, here))
                yield from part.batches(columns, where, here)
            rest = [step for step in rest if step not in set(here)]

    def shrink(self, most_bytes: int) -> list[Path]:
        """Remove the files of the oldest steps while there are more bytes; the newest one stays.

        Returns:
            The files that were removed.

        Raises:
            StoreError: the folder is not writable.
        """
        ages = {file: max(self._steps_of(file)) for file in self._packed_files()}
        ages |= {file: step for step, file in self._loose().items()}
        files = sorted(ages, key=ages.__getitem__)
        sizes = {file: file.stat().st_size for file in files}
        gone: list[Path] = []
        while len(files) > 1 and sum(sizes[file] for file in files) > most_bytes:
            with _told(files[0]):
                files[0].unlink()
            gone.append(files.pop(0))
        return gone

    def drop_after(self, step: int) -> list[int]:
        """Remove what was stored for later steps, before a resumed run takes them again.

        Returns:
            The steps that were removed.

        Raises:
            StoreError: the disk is full or not writable.
        """
        later = [stored for stored in self.steps() if stored > step]
        for file in self._packed_files():
            kept = [stored for stored in self._steps_of(file) if stored <= step]
            if kept == list(self._steps_of(file)):
                continue
            if kept:
                self._pack_into(self.folder / f"steps-{kept[0]:06d}-{kept[-1]:06d}.parquet", kept)
            file.unlink()
        for stored, file in self._loose().items():
            if stored > step:
                file.unlink()
        self._remove_drafts()
        return later

    # files

    def _remove_drafts(self) -> None:
        """Remove what writers that were killed left behind."""
        for draft in self.folder.glob(".step*.parquet.*"):
            draft.unlink(missing_ok=True)

    def _loose(self) -> dict[int, Path]:
        found = ((FILE.fullmatch(path.name), path) for path in self.folder.glob("step-*.parquet"))
        return {int(match[1]): path for match, path in found if match}

    def _packed_files(self) -> list[Path]:
        return [
            path for path in sorted(self.folder.glob("steps-*.parquet")) if FILE.match(path.name)
        ]

    def _steps_of(self, file: Path) -> tuple[int, ...]:
        state = file.stat()
        key = (file.name, state.st_size, state.st_mtime_ns)
        if key not in self._packed:
            with _opened(file) as part:
                self._packed[key] = part.steps
        return self._packed[key]

    def _places(self) -> dict[int, Path]:
        """Which file counts for every step."""
        places: dict[int, Path] = {}
        for file in self._packed_files():
            with suppress(FileNotFoundError):  # packed anew since it was listed
                places |= dict.fromkeys(self._steps_of(file), file)
        return places | self._loose()

    @contextmanager
    def _open(self, step: int, places: dict[int, Path] | None = None) -> Iterator[Part]:
        """The file that counts for `step`; `places` are brought up to date where it has moved."""
        places = self._places() if places is None else places
        with ExitStack() as stack:
            try:
                part = stack.enter_context(_opened(places[step]))
            except (KeyError, FileNotFoundError):
                places |= self._places()  # the run that is being read has packed it meanwhile
                if step not in places:
                    kept = sorted(places)
                    has = f"steps {kept[0]} to {kept[-1]}" if kept else "nothing"
                    raise StoreError(
                        f"{self.folder} holds no step {step}: it holds {has}."
                    ) from None
                part = stack.enter_context(_opened(places[step]))
            yield part

    def _pack_into(self, path: Path, steps: Sequence[int]) -> None:
        """Write these steps into `path` and then remove the loose files of theirs."""
        places = self._places()

        def tables() -> Iterator[pa.Table]:
            return _gathered(self._tables(steps, places))

        groups = sum(self._num_groups(file) for file in {places[step] for step in steps})
        with _told(path):
            store_files.write(path, steps, tables, most_groups=groups)
            for step in steps:
                (self.folder / f"step-{step:06d}.parquet").unlink(missing_ok=True)

    def _tables(self, steps: Sequence[int], places: dict[int, Path]) -> Iterator[pa.Table]:
        for step in steps:
            with self._open(step, places) as part:
                if part.lost([step]):
                    raise StoreError(_cut(part, [step]))
                rows = part.read(step)
            yield store_rows.completed(rows)

    def _num_groups(self, file: Path) -> int:
        with _opened(file) as part:
            return int(part.file.num_row_groups)


def field(name: str) -> pc.Expression:
    """A column, for the filter of `RolloutStore.scan`."""
    return pc.field(name)


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Small tables put together up to the bounds of a row group."""
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        if waiting and (
            rows + table.num_rows > ROWS_AT_ONCE or size + table.nbytes > BYTES_AT_ONCE
        ):
            yield pa.concat_tables(waiting).unify_dictionaries()
            waiting, rows, size = [], 0, 0
        if table.num_rows:
            waiting.append(table)
            rows, size = rows + table.num_rows, size + table.nbytes
    if waiting:
        yield pa.concat_tables(waiting).unify_dictionaries()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path} could not be written: {error}. Free space or mend the folder's rights, "
            "then start the run again: it resumes from its last checkpoint."
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[Part]:
    with _damage_told(path), store_files.opened(path) as part:
        yield part


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(
            f"{path} is cut short or damaged ({error}). Remove it, and either go without its "
            "steps or resume from a checkpoint before them to sample them again."
        ) from error


def _cut(part: Part, steps: Sequence[int]) -> str:
    wanted = part.groups_of(steps)
    whole = len(wanted) - len(part.lost(steps))
    return (
        f"{part.path} is cut short: of the {len(wanted)} row groups wanted, {whole} are whole. "
        "Copy the file again, or remove it and go without its steps."
    )
