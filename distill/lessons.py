"""Traces as lessons on disk: token ids and which of them are learned, read by memory map.

    lessons/token_ids.i32  lessons/learned.u1  lessons/starts.i64

Only what the policy sampled itself is learned; prompts and observations are context.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from base_model.packing import Lesson

TOKENS, LEARNED, STARTS = "token_ids.i32", "learned.u1", "starts.i64"


def write_lessons(folder: Path, lessons: Iterable[Lesson]) -> None:
    """Write them one after the other; `folder` appears once all are there."""
    draft = folder.with_name(f".{folder.name}.draft")
    draft.mkdir(parents=True, exist_ok=True)
    starts = [0]
    with (draft / TOKENS).open("wb") as tokens, (draft / LEARNED).open("wb") as learned:
        for lesson in lessons:
            np.asarray(lesson.token_ids, np.int32).tofile(tokens)
            np.asarray(lesson.learned, np.bool_).tofile(learned)
            starts.append(starts[-1] + len(lesson.token_ids))
    np.array(starts, np.int64).tofile(draft / STARTS)
    draft.rename(folder)


class TraceLessons:
    """Endless lessons from a folder, every one once an epoch: a pure function of the index."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.starts: NDArray[np.int64] = np.fromfile(folder / STARTS, np.int64)
        self._tokens = np.memmap(folder / TOKENS, np.int32, "r")
        self._learned = np.memmap(folder / LEARNED, np.bool_, "r")
        self._seed = seed
        self._epoch, self._order = -1, list(range(len(self)))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every lesson."""
        return np.diff(self.starts)

    def number(self, index: int) -> int:
        """Which lesson comes at `index`: every epoch in an order of its own."""
        epoch, place = divmod(index, len(self))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, list(range(len(self)))
            random.Random(f"{self._seed}:epoch {epoch}").shuffle(self._order)
        return self._order[place]

    def tokens(self, index: int, progress: float) -> Sequence[int] | Lesson:  # noqa: ARG002
        """Lesson `index`; see `base_model.pretrain.Documents`."""
        number = self.number(index)
        span = slice(self.starts[number], self.starts[number + 1])
        return Lesson(self._tokens[span].tolist(), self._learned[span].tolist())
