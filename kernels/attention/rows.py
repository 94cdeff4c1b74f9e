"""Who sees whom in the rows of a micro-batch: two numbers a token, made once for all layers.

Shape letters: R = rows, L = columns, N = documents.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from munro.kernels.attention import gathered, reference
from munro.kernels.attention.masks import block_mask
from munro.kernels.dispatch import twin

TWINS = ("reference", "plain", "fused")
SPARED = 1.5
"""All pairs by those that are gathered, from which on it is worth it."""
MOST_KEYS = 1024
"""Of a query, on average over the gathered: a byte of memory each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Rows that are sequences end to end, without branches.

    Example:
        Documents(starts=torch.tensor([0, 3, 8], dtype=torch.int32), longest=5)
    """

    starts: Tensor
    """(N + 1,) int32: where each begins in the R * L tokens, and their number. None goes on from
    one row to the next."""
    longest: int
    """Tokens of the longest."""


class Ranks(Protocol):
    """Those that have a stretch each of the columns of every row, seen from one."""

    def heads(self, number: int) -> slice:
        """Which of so many heads this rank computes, over whole rows."""
        ...

    def to_heads(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """From all heads of some columns to all columns of some heads."""
        ...

    def to_columns(self, mixed: Tensor) -> Tensor:
        """And back."""
        ...


def documents_in(until_RL: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int32], int] | None:
    """What `Documents` holds, found on the host; None where there are branches.

    Args:
        until_RL: see `reference.visible`.
    """
    rows, columns = until_RL.shape
    at_L = np.arange(columns)
    first_RL = np.ones((rows, columns), np.bool_)
    first_RL[:, 1:] = until_RL[:, :-1] == at_L[1:]
    same_RL = first_RL[:, 1:] | (until_RL[:, 1:] == until_RL[:, :-1])
    if not same_RL.all() or not (until_RL[:, -1] == columns).all():
        return None
    starts = np.append(np.flatnonzero(first_RL), rows * columns)
    return starts.astype(np.int32), int(np.diff(starts).max())


def twin_on(device: torch.device) -> str:
    """FlexAttention is for NVIDIA's GPUs, also where Triton's interpreter would run elsewhere."""
    return twin("attention", device, TWINS if device.type == "cuda" else TWINS[:2])


class RowMask(BlockMask):
    """Given to a model of transformers as `attention_mask` where its attention is `register`'s.

    It is a `BlockMask` by name alone: transformers hands those through as they are. What each way
    of computing wants of it is made when it is first asked for, and kept.

    Args:
        until_RL: int32, see `reference.visible`; of every token beyond itself, and at most L.
        position_RL: tokens before each on its own way.
        documents: where there are no branches.
        windows: of the layers that are to come; 0 for one without. Their masks are made at once.
        ranks: where layers have a stretch of the columns alone; the mask is of whole rows.

    Example:
        RowMask(until_RL, position_RL, windows=(0, 512))
    """

    def __init__(
        self,
        until_RL: Tensor,
        position_RL: Tensor,
        *,
        documents: Documents | None = None,
        windows: Iterable[int] = (),
        ranks: Ranks | None = None,
    ) -> None:
        self.until_RL = until_RL.to(torch.int32)
        self.position_RL = position_RL.to(torch.int32)
        self.documents, self.ranks = documents, ranks
        self.twin = twin_on(until_RL.device)
        self.longest = until_RL.shape[1] if documents is None else documents.longest
        self._blocks: dict[int, BlockMask] = {}
        self._dense: dict[tuple[int, torch.dtype], Tensor] = {}
        self._chunks: dict[int, tuple[gathered.Chunk, ...]] = {}
        if self.twin == "fused":
            for window in windows:
                self.blocks(self.narrowed(window))

    @property
    def shape(self) -> tuple[int, ...]:
        """(R, 1, L, L), though nothing of that size is made."""
        rows, columns = self.until_RL.shape
        return rows, 1, columns, columns

    @property
    def ndim(self) -> int:
        """4: some models ask before they hand a mask on."""
        return 4

    def dim(self) -> int:
        """4, as a tensor would say it."""
        return 4

    @property
    def is_plain(self) -> bool:
        """Every row is one sequence."""
        return self.documents is not None and len(self.documents.starts) == self.shape[0] + 1

    def narrowed(self, window: int | None) -> int:
        """The window, or 0 where nothing is as far apart as that."""
        return 0 if not window or window >= self.longest else int(window)

    def blocks(self, window: int) -> BlockMask:
        """For FlexAttention."""
        if window not in self._blocks:
            self._blocks[window] = block_mask(
                self.until_RL, position_RL=self.position_RL, window=window
            )
        return self._blocks[window]

    def dense(self, window: int, dtype: torch.dtype) -> Tensor:
        """[R, 1, L, L] to be added to scores; of short rows only."""
        if (window, dtype) not in self._dense:
            seen = reference.visible(self.until_RL, self.position_RL, window)
            self._dense[window, dtype] = reference.added(seen, dtype)
        return self._dense[window, dtype]

    def chunks(self, window: int) -> tuple[gathered.Chunk, ...]:
        """Queries with the keys that they see, on the host; none where that would spare little.

        Nor where they are so many that what says who sees whom would fill the memory.
        """
        if self.until_RL.device.type != "cpu":
            return ()
        if window not in self._chunks:
            rows, columns = self.until_RL.shape
            most = min(rows * columns**2 / SPARED, rows * columns * MOST_KEYS)
            made = gathered.plan(self.until_RL, self.position_RL, window, most_pairs=most)
            # with the padding of blocks
            self._chunks[window] = made if gathered.num_pairs(made) <= most else ()
        return self._chunks[window]

    def to(self, device: torch.device | str) -> RowMask:
        """The same on another device."""
        documents = self.documents
        if documents is not None:
            documents = Documents(starts=documents.starts.to(device), longest=documents.longest)
        moved = self.until_RL.to(device), self.position_RL.to(device)
        return RowMask(*moved, documents=documents, ranks=self.ranks)

    def __repr__(self) -> str:
        """Its size and what it holds."""
        rows, _, columns, _ = self.shape
        kind = "trees" if self.documents is None else f"{len(self.documents.starts) - 1} documents"
        return f"RowMask({rows} x {columns} tokens, {kind})"

    __str__ = __repr__
