"""Lessons on disk, read by memory map, and the endless order in which they are read.

lessons/token_ids.i32  lessons/learned.u1  lessons/starts.i64   every lesson, end to end
lessons/taken.i64                                               numbers of those that are read
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from munro.base_model.data.shards.packing import Lesson
from munro.base_model.training.pretrain import Documents

TOKENS, LEARNED, STARTS, TAKEN = "token_ids.i32", "learned.u1", "starts.i64", "taken.i64"


def write_lessons(folder: Path, lessons: Iterable[Lesson]) -> None:
    """Write them into `folder`, one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = [0]
    with (folder / TOKENS).open("wb") as tokens, (folder / LEARNED).open("wb") as learned:
        for lesson in lessons:
            tokens.write(np.asarray(lesson.token_ids, np.int32).tobytes())
            learned.write(np.asarray(lesson.learned, np.bool_).tobytes())
            starts.append(starts[-1] + len(lesson.token_ids))
    (folder / STARTS).write_bytes(np.array(starts, np.int64).tobytes())


def write_taken(folder: Path, numbers: NDArray[np.int64]) -> None:
    """Say which of the lessons in `folder` are read."""
    (folder / TAKEN).write_bytes(numbers.astype(np.int64).tobytes())


class TraceLessons:
    """Endless lessons from a folder, every one once an epoch: a pure function of the index."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._taken = np.fromfile(folder / TAKEN, np.int64)
        self._starts = np.fromfile(folder / STARTS, np.int64)
        self._tokens = np.memmap(folder / TOKENS, np.int32, "r")
        self._learned = np.memmap(folder / LEARNED, np.bool_, "r")
        self._seed = seed
        self._epoch = -1
        self._order: list[int] = []

    def __len__(self) -> int:
        return len(self._taken)

    def length(self, index: int) -> int:
        """Tokens of lesson `index`."""
        number = self._number(index)
        return int(self._starts[number + 1] - self._starts[number])

    @property
    def num_tokens(self) -> int:
        """Tokens of an epoch."""
        return int((self._starts[self._taken + 1] - self._starts[self._taken]).sum())

    def tokens(self, index: int, progress: float) -> Lesson:  # noqa: ARG002 - the core's interface
        """Lesson `index`; see `munro.base_model.training.pretrain.Documents`."""
        number = self._number(index)
        span = slice(self._starts[number], self._starts[number + 1])
        return Lesson(self._tokens[span].tolist(), self._learned[span].tolist())

    def _number(self, index: int) -> int:
        """Which lesson comes at `index`: every epoch in an order of its own."""
        epoch, place = divmod(index, len(self))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._taken.tolist()
            random.Random(f"{self._seed}:epoch {epoch}").shuffle(self._order)
        return self._order[place]


class WithReplay:
    """Lessons with documents of another corpus spread evenly among them.

    Args:
        lessons: what is distilled.
        other: what is not to be forgotten.
        share: of the other's tokens among all.
        other_length: its documents' mean tokens.
    """

    def __init__(
        self, lessons: TraceLessons, other: Documents, *, share: float, other_length: float
    ) -> None:
        self._lessons, self._other = lessons, other
        mean = lessons.num_tokens / len(lessons)
        wanted = share / other_length
        self.documents_share = wanted / (wanted + (1 - share) / mean)
        """Share of the documents that are the other's."""

    def tokens(self, index: int, progress: float) -> Sequence[int] | Lesson:
        """Document `index`; see `munro.base_model.training.pretrain.Documents`."""
        before = int(index * self.documents_share)
        if int((index + 1) * self.documents_share) > before:
            return self._other.tokens(before, progress)
        return self._lessons.tokens(index - before, progress)
