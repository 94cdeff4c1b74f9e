"""Every trajectory of a run, on disk: Parquet, one row an attempt.

The store is what the report browses, what `munro replay` learns from again, and what
self-distillation selects its traces from. Reading gives back the very arrays that were written.

    rollouts/step-000512.parquet            a step, a row group for each of its groups
    rollouts/step-000512.p1.parquet         more of it, where several nodes have a part each
    rollouts/steps-000001-000064.parquet    earlier steps, packed together by and by

A file is written beside, flushed to the disk and renamed, so it is whole or not there, whenever the
process or the machine dies. Packing writes the new file whole before the first of the old ones
goes; where both are there, the step's own file counts, so a kill between the two loses nothing and
doubles nothing, and the next packing clears up. A file that lost its end all the same (a copy that
broke off, a disk that failed) is still read up to its last whole row group: see `store_files`.

One process writes, or one a node, each its part of a step (the run's lock sees to that); others
may read meanwhile. The part without a number comes last: with it the step is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
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
        self._drafts: dict[Path, Path] = {}

    def write(
        self,
        step: int,
        groups: Sequence[Group],
        advantages: Sequence[Sequence[float | None]],
        given_up: Sequence[str | None] | None = None,
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
        path = self.draft(step, groups, advantages, given_up)
        self.commit(step)
        self.tidy()
        return path

    def draft(
        self,
        step: int,
        groups: Sequence[Group],
        advantages: Sequence[Sequence[float | None]],
        given_up: Sequence[str | None] | None = None,
        *,
        part: int = 0,
    ) -> Path:
        """Write one step's groups, or a part of them, where nobody sees them before `commit`.

        Args and raises: as `write`.
        """
        reasons: Sequence[str | None] = given_up or [None] * len(groups)
        parts = list(zip(groups, advantages, reasons, strict=True))

        def tables() -> Iterator[pa.Table]:
            # a row group per group: whoever reads needs memory for one of them at a time
            return (store_rows.table(step, *part) for part in parts)

        path = self._path(step, part)
        with _told(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._drafts[path] = store_files.draft(path, [step], tables, most_groups=len(parts))
        return path

    def commit(self, step: int, *, part: int = 0) -> None:
        """Let be seen what `draft` wrote. Part 0 comes last, for with it the step is there.

        Raises:
            StoreError: the disk refused.
        """
        path = self._path(step, part)
        with _told(path):
            store_files.give_name(self._drafts.pop(path), path)

    def tidy(self) -> None:
        """Pack old steps where many stand loose. Raises as `pack`."""
        if len(self._loose()) >= 2 * STEPS_PACKED:
            self.pack(keep=STEPS_PACKED)

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
        parts = [list(store_rows.groups(rows)) for rows in self._tables([step])]
        if len(parts) == 1:
            return parts[0]
        return sorted(chain.from_iterable(parts), key=lambda group: group.index)

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
                yield from _whole(part, columns, where, here, on_cut)
                more = self._more(part.path)
            for path in more:
                with _opened(path) as part:
                    yield from _whole(part, columns, where, here, on_cut)
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
        sizes = {
            file: sum(one.stat().st_size for one in [file, *self._more(file)]) for file in files
        }
        gone: list[Path] = []
        while len(files) > 1 and sum(sizes[file] for file in files) > most_bytes:
            with _told(files[0]):
                self._unlink(files[0])
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
                self._unlink(file)
        for file in self.folder.glob("step-*.p*.parquet"):  # of steps that never were whole
            if int(file.name[5:].partition(".")[0]) > step:
                file.unlink()
        self._remove_drafts()
        return later

    # files

    def _path(self, step: int, part: int = 0) -> Path:
        return self.folder / f"step-{step:06d}{f'.p{part}' if part else ''}.parquet"

    def _more(self, file: Path) -> list[Path]:
        """The other parts of a loose step."""
        return sorted(self.folder.glob(f"{file.stem}.p*.parquet"))

    def _unlink(self, file: Path) -> None:
        """Remove a file, and first the other parts of its step."""
        for part in [*self._more(file), file]:
            part.unlink(missing_ok=True)

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

        files = {places[step] for step in steps}
        groups = sum(self._num_groups(one) for file in files for one in [file, *self._more(file)])
        with _told(path):
            store_files.write(path, steps, tables, most_groups=groups)
            for step in steps:
                self._unlink(self._path(step))

    def _tables(
        self, steps: Sequence[int], places: dict[int, Path] | None = None
    ) -> Iterator[pa.Table]:
        for step in steps:
            with self._open(step, places) as part:
                yield _rows(part, step)
                more = self._more(part.path)
            for path in more:
                with _opened(path) as part:
                    yield _rows(part, step)

    def _num_groups(self, file: Path) -> int:
        with _opened(file) as part:
            return int(part.file.num_row_groups)


def _rows(part: Part, step: int) -> pa.Table:
    if part.lost([step]):
        raise StoreError(_cut(part, [step]))
    return store_rows.completed(part.read(step))


def _whole(
    part: Part,
    columns: Sequence[str],
    where: pc.Expression | None,
    steps: Sequence[int],
    on_cut: Callable[[str], None] | None,
) -> Iterator[pa.RecordBatch]:
    """A file's rows of these steps; what a cut took is told, or an error."""
    if part.lost(steps):
        if on_cut is None:
            raise StoreError(_cut(part, steps))
        on_cut(_cut(part, steps))
    yield from part.batches(columns, where, steps)


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
