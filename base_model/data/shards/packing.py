"""Documents of any length become rows of one length.

Shape suffixes: B = rows, T = tokens of a row.

A corpus is a pure function from an index to a document, so the whole progress of the data is one
`Cursor`, and a run that resumes reads exactly what it would have read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Lesson:
    """A document of which only some tokens are to be learned, such as an answer to a question."""

    token_ids: Sequence[int]
    learned: Sequence[bool]
    """One per token."""


Documents = Callable[[int], Sequence[int] | Lesson]
"""Token ids of the document with this index; every index has one, and none is empty."""

NO_DOCUMENT = -1


@dataclass(frozen=True, slots=True)
class Cursor:
    """The next token to be read."""

    document: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRows:
    """A batch of rows, filled from the left; what is left empty belongs to no document."""

    token_ids: NDArray[np.int64]
    """(B, T)"""
    documents: NDArray[np.int64]
    """(B, T) number of the document within its row; `NO_DOCUMENT` on padding."""
    positions: NDArray[np.int64]
    """(B, T) counted from the start of what attention may see."""
    learned: NDArray[np.bool_]
    """(B, T) tokens to be learned, where they have a predecessor; False on padding."""

    @property
    def num_tokens(self) -> int:
        """Tokens that are not padding."""
        return int((self.documents != NO_DOCUMENT).sum())

    @property
    def num_targets(self) -> int:
        """Tokens to be learned that have a predecessor in their document."""
        same = self.documents[:, 1:] == self.documents[:, :-1]
        return int((same & self.learned[:, 1:] & (self.documents[:, 1:] != NO_DOCUMENT)).sum())

    def __len__(self) -> int:
        """Rows."""
        return len(self.token_ids)

    def __getitem__(self, rows: slice) -> PackedRows:
        """Some of the rows, in order."""
        return PackedRows(
            token_ids=self.token_ids[rows],
            documents=self.documents[rows],
            positions=self.positions[rows],
            learned=self.learned[rows],
        )

    def split(self, num_rows: int) -> Iterator[PackedRows]:
        """That many rows at a time; the last may be fewer."""
        for start in range(0, len(self), num_rows):
            yield self[start : start + num_rows]


def pack(
    documents: Documents, cursor: Cursor, *, rows: int, row_tokens: int, apart: bool
) -> tuple[PackedRows, Cursor]:
    """Fill `rows` rows of `row_tokens` tokens from `cursor` on.

    With `apart`, a document that does not fit into what is left of a row begins the next one, and
    only one longer than a whole row is cut, each piece counting as a document of its own. Without,
    documents follow each other without gaps and are cut wherever a row ends.
    """
    shape = (rows, row_tokens)
    token_ids_BT = np.zeros(shape, np.int64)
    document_BT = np.full(shape, NO_DOCUMENT, np.int64)
    position_BT = np.zeros(shape, np.int64)
    learned_BT = np.zeros(shape, np.bool_)
    for row in range(rows):
        filled = number = 0
        while filled < row_tokens:
            document = documents(cursor.document)
            lesson = document if isinstance(document, Lesson) else _wholly_learned(document)
            remaining = len(lesson.token_ids) - cursor.offset
            room = row_tokens - filled
            if apart and remaining > room and filled:
                break
            taken = min(remaining, room)
            span = slice(filled, filled + taken)
            piece = slice(cursor.offset, cursor.offset + taken)
            token_ids_BT[row, span] = lesson.token_ids[piece]
            learned_BT[row, span] = lesson.learned[piece]
            document_BT[row, span] = number if apart else 0
            position_BT[row, span] = np.arange(taken) + (0 if apart else filled)
            filled, number = filled + taken, number + 1
            at_end = taken == remaining
            cursor = (
                Cursor(cursor.document + 1)
                if at_end
                else Cursor(cursor.document, cursor.offset + taken)
            )
    packed = PackedRows(
        token_ids=token_ids_BT, documents=document_BT, positions=position_BT, learned=learned_BT
    )
    return packed, cursor


def _wholly_learned(token_ids: Sequence[int]) -> Lesson:
    return Lesson(token_ids, [True] * len(token_ids))


def attention_mask(document_BT: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, 1, T, T] additive mask: 0 where a token may look (its own document, no later token).

    Padding looks at padding, so that no row of the softmax is empty.
    """
    same_BTT = document_BT[:, :, None] == document_BT[:, None, :]
    allowed_BTT = same_BTT.tril()
    mask_BTT = torch.zeros(allowed_BTT.shape, dtype=dtype, device=document_BT.device)
    return mask_BTT.masked_fill_(~allowed_BTT, torch.finfo(dtype).min)[:, None]


def has_target(document_BT: Tensor) -> Tensor:
    """[B, T - 1] bool: the next token belongs to the same document, so it can be predicted."""
    same_BT = document_BT[:, 1:] == document_BT[:, :-1]
    return same_BT & (document_BT[:, 1:] != NO_DOCUMENT)
