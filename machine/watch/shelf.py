"""The attempts of one store, as a table that is sorted and searched without reading their texts.

A step is read once, when its file is new; the texts of an attempt when somebody opens it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from munro.rollout.store.store import RolloutStore, StoreError, field

NUMBERS: dict[str, type[np.generic]] = {
    "step": np.int32,
    "index": np.int64,
    "attempt": np.int32,
    "solved": np.bool_,
    "reward_total": np.float64,
    "advantage": np.float64,
    "num_sampled": np.int32,
}
WORDS = ("env", "task_id", "ending", "given_up")
ORDERS = {
    "": ("step", True),
    "advantage": ("advantage", True),
    "-advantage": ("advantage", False),
    "tokens": ("num_sampled", True),
    "-total": ("reward_total", False),
}
"""What a page may sort by: column, and whether the highest comes first."""
STEPS_AT_ONCE = 64
LOOK_S = 1.5
"""Seconds that a search through texts may take before it says how far it came."""

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which attempts, in which order."""

    step: int | None = None
    env: str = ""
    solved: bool | None = None
    given_up: str = ""
    order: str = ""
    text: str = ""
    first: int = 0
    count: int = 40


class Shelf:
    """One store of a run.

    Example:
        shelf = Shelf(run.rollouts)
        shelf.look()
        rows, found, looked = shelf.rows(Wanted(solved=False, order="tokens"))
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = RolloutStore(folder)
        self._steps: dict[int, Columns] = {}
        self._seen: dict[int, tuple[int, int]] = {}
        self._whole: Columns | None = None
        # held for a moment only: whoever searches texts must not keep others from looking
        self._lock = threading.Lock()
        self._words: dict[str, dict[str, int]] = {name: {} for name in WORDS}
        self.damaged: dict[int, str] = {}
        """Steps that cannot be read, with why."""
        self.waiting = 0
        """Steps that are there and were not read yet."""

    @property
    def is_trained(self) -> bool:
        """Its attempts were learned from."""
        return self._folder.name == "rollouts"

    def __len__(self) -> int:
        with self._lock:
            return sum(len(one["step"]) for one in self._steps.values())

    @property
    def steps(self) -> list[int]:
        """Steps that were read, in order."""
        with self._lock:
            return sorted(self._steps)

    def names(self, column: str) -> list[str]:
        """Every value that `env` or `given_up` has had."""
        with self._lock:
            return sorted(filter(None, self._words[column]))

    def look(self, until: float = math.inf) -> None:
        """Read the steps that are new or were taken again, and forget those that are gone.

        Args:
            until: on the monotonic clock; what is not read by then, the oldest steps, waits for the
                next look. Some are read at every look.

        Raises:
            StoreError: the folder cannot be listed.
        """
        there = self._there()
        for step in self._steps.keys() - there.keys():
            self._keep(step, None)
        self.damaged = {step: why for step, why in self.damaged.items() if step in there}
        self._seen = {step: seen for step, seen in self._seen.items() if step in there}
        # a step that was packed since is the same one
        new = [s for s, seen in there.items() if seen not in ((0, 0), self._seen.get(s))]
        new += [s for s, seen in there.items() if seen == (0, 0) and s not in self._seen]
        new.sort(reverse=True)
        while new:
            some, new = new[:STEPS_AT_ONCE], new[STEPS_AT_ONCE:]
            self._read(sorted(some))
            self._seen |= {step: there[step] for step in some}
            if time.monotonic() > until:
                break
        self.waiting = len(new)

    def _read(self, steps: Sequence[int]) -> None:
        """Keep these steps: those of one file are read in one go, but for a damaged one."""
        try:
            columns = self._columns(steps)
        except StoreError as error:
            if len(steps) > 1:
                for step in steps:
                    self._read([step])
                return
            self._keep(steps[0], None)
            self.damaged[steps[0]] = str(error)
            return
        for step in steps:
            own = columns["step"] == step
            self._keep(step, {name: values[own] for name, values in columns.items()})
            self.damaged.pop(step, None)

    def _keep(self, step: int, columns: Columns | None) -> None:
        with self._lock:
            self._steps.pop(step, None)
            if columns is not None:
                self._steps[step] = columns
            self._whole = None

    def _there(self) -> dict[int, tuple[int, int]]:
        """Steps that are stored: size and time of a loose file, zeros of what is packed."""
        found = {}
        try:
            for step in self._store.steps():
                try:
                    state = (self._folder / f"step-{step:06d}.parquet").stat()
                    found[step] = (state.st_size, state.st_mtime_ns)
                except FileNotFoundError:
                    found[step] = (0, 0)
        except OSError as error:
            raise StoreError(f"{self._folder} cannot be read: {error.strerror}.") from error
        return found

    def _columns(self, steps: Sequence[int]) -> Columns:
        parts: list[Columns] = []
        for batch in self._store.batches([*NUMBERS, *WORDS], steps=steps, on_cut=_tolerated):
            part: Columns = {}
            for name, kind in NUMBERS.items():
                values = batch.column(name).to_numpy(zero_copy_only=False)
                part[name] = values.astype(kind)
            for name in WORDS:
                part[name] = self._coded(name, batch.column(name))
            parts.append(part)
        empty: Columns = {name: np.zeros(0, kind) for name, kind in NUMBERS.items()}
        empty |= {name: np.zeros(0, np.int32) for name in WORDS}
        return {
            name: np.concatenate([none, *(p[name] for p in parts)]) for name, none in empty.items()
        }

    def _coded(self, name: str, column: pa.Array) -> NDArray[np.int32]:
        """Numbers of the words; -1 for none."""
        words = self._words[name]
        known = column.dictionary.to_pylist()
        with self._lock:
            codes = [-1 if word is None else words.setdefault(word, len(words)) for word in known]
        places = column.indices.to_numpy(zero_copy_only=False)
        missing = np.isnan(places) if places.dtype.kind == "f" else np.zeros(len(places), bool)
        found = np.array([*codes, -1], np.int32)
        return found[np.where(missing, len(codes), places).astype(np.int64)]

    def _table(self) -> Columns:
        """All steps' columns end to end; never changed once it is given."""
        with self._lock:
            if self._whole is None:
                kept = [self._steps[step] for step in sorted(self._steps)]
                self._whole = {
                    name: np.concatenate([one[name] for one in kept]) if kept else np.zeros(0)
                    for name in (*NUMBERS, *WORDS)
                }
            return self._whole

    def _code(self, column: str, word: str) -> int:
        with self._lock:
            return self._words[column].get(word, -2)

    def rows(self, wanted: Wanted) -> tuple[list[dict[str, Any]], int, int]:
        """A page of the attempts that are wanted, how many there are, and how many were looked at.

        A search through texts goes from the newest step back, and ends early once it has a page
        or `LOOK_S` have passed.
        """
        table = self._table()
        held = np.ones(len(table["step"]), bool)
        if wanted.step is not None:
            held &= table["step"] == wanted.step
        if wanted.solved is not None:
            held &= table["solved"] == wanted.solved
        for name, value in (("env", wanted.env), ("given_up", wanted.given_up)):
            if value:
                held &= table[name] == self._code(name, value)
        if wanted.text:
            return self._searched(table, held, wanted)
        name, falls = ORDERS.get(wanted.order, ORDERS[""])
        places = self._sorted(table, np.flatnonzero(held), name, falls)
        shown = places[wanted.first : wanted.first + wanted.count]
        return self._told(table, shown), len(places), len(places)

    def _sorted(
        self, table: Columns, places: NDArray[np.int64], name: str, falls: bool
    ) -> NDArray[np.int64]:
        if name == "step":  # they stand in order; siblings are left in theirs
            return places[np.argsort(-table["step"][places], kind="stable")]
        values = table[name][places].astype(np.float64)
        values = np.where(np.isnan(values), np.inf, -values if falls else values)
        return places[np.argsort(values, kind="stable")]

    def _searched(
        self, table: Columns, held: NDArray[np.bool_], wanted: Wanted
    ) -> tuple[list[dict[str, Any]], int, int]:
        until, looked = time.monotonic() + LOOK_S, 0
        found: list[int] = []
        text = wanted.text.lower()
        for step in np.unique(table["step"])[::-1].tolist():
            places = np.flatnonzero(held & (table["step"] == step))
            if not len(places):
                continue
            if time.monotonic() > until or len(found) >= wanted.first + wanted.count:
                break
            at = {(int(table["index"][p]), int(table["attempt"][p])): int(p) for p in places}
            for row in self._texts(step):
                place = at.get((row["index"], row["attempt"]))
                if place is None:
                    continue
                looked += 1
                if any(text in str(row[name]).lower() for name in ("reply", "prompt", "task_id")):
                    found.append(place)
        shown = np.array(found[wanted.first : wanted.first + wanted.count], np.int64)
        return self._told(table, shown), len(found), looked

    def _texts(self, step: int) -> Iterator[dict[str, Any]]:
        columns = ["index", "attempt", "reply", "prompt", "task_id"]
        for batch in self._store.batches(columns, steps=[step], on_cut=_tolerated):
            yield from batch.to_pylist()

    def _told(self, table: Columns, places: NDArray[np.int64]) -> list[dict[str, Any]]:
        with self._lock:
            words = {name: list(known) for name, known in self._words.items()}
        rows = []
        for place in places.tolist():
            row = {name: table[name][place].item() for name in NUMBERS}
            row |= {
                name: words[name][code] if (code := int(table[name][place])) >= 0 else ""
                for name in WORDS
            }
            rows.append({name: None if value != value else value for name, value in row.items()})
        return rows

    def group(self, step: int, index: int, columns: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of one group's attempts, in order.

        Raises:
            StoreError: its file is gone or damaged.
        """
        batches = self._store.batches(
            columns, field("index") == index, steps=[step], on_cut=_tolerated
        )
        return [row for batch in batches for row in batch.to_pylist()]


def _tolerated(_sentence: str) -> None:
    """A file whose end is missing is shown up to there: it may be on its way here."""
