"""Text that is scored and never trained on, cut into pieces and packed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from munro.base_model.data.shards.packing import Cursor, Lesson, PackedRows, pack
from munro.base_model.results import Category


class BadEvaluation(ValueError):
    """A held-out set or a reference cannot be used; says which and why, in one sentence."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutSet:
    """Text that is scored and never trained on, cut and packed.

    Example:
        HeldOutSet.of("prose", "general", texts, tokenizer, row_tokens=512, max_tokens=20_000)
    """

    name: str
    category: Category
    rows: PackedRows
    num_bytes: int
    """UTF-8 bytes of the tokens that are predicted: all but each piece's first."""

    @classmethod
    def of(
        cls,
        name: str,
        category: Category,
        texts: Iterable[str],
        tokenizer: Any,
        *,
        row_tokens: int,
        max_tokens: int = 0,
    ) -> Self:
        """Tokenise and pack.

        Args:
            name: of the set, for metrics.
            category: which of the five it counts towards.
            texts: documents, read until `max_tokens` are there.
            tokenizer: a fast one: bytes are counted from its offsets.
            row_tokens: longest piece that is scored in one pass.
            max_tokens: enough; 0 takes every text.

        Raises:
            BadEvaluation: the texts hold nothing that could be predicted.
        """
        pieces: list[list[int]] = []
        num_bytes = num_tokens = 0
        for text in texts:
            for piece, piece_bytes in _pieces(text, tokenizer, row_tokens):
                pieces.append(piece)
                num_bytes += piece_bytes
                num_tokens += len(piece)
            if max_tokens and num_tokens >= max_tokens:
                break
        if not pieces:
            raise BadEvaluation(
                f"held-out set {name!r} holds no text of two tokens or more: nothing to predict."
            )
        rows = _packed(pieces, row_tokens)
        return cls(name=name, category=category, rows=rows, num_bytes=num_bytes)

    @classmethod
    def of_lessons(
        cls,
        name: str,
        category: Category,
        lessons: Sequence[Lesson],
        *,
        row_tokens: int,
        num_bytes: int,
    ) -> Self:
        """Pack what somebody else has cut.

        Args:
            name: of the set, for metrics.
            category: which of the five it counts towards.
            lessons: of each what is learned is scored; none longer than a row.
            row_tokens: of a row.
            num_bytes: UTF-8 bytes of what is scored.
        """
        rows = _packed(lessons, row_tokens)
        return cls(name=name, category=category, rows=rows, num_bytes=num_bytes)


def _pieces(text: str, tokenizer: Any, row_tokens: int) -> Iterator[tuple[list[int], int]]:
    """Token ids of each piece of a text, and the bytes of all its tokens but the first."""
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    ids, ends = encoding.ids, [end for _, end in encoding.offsets]
    for start in range(0, len(ids), row_tokens):
        piece = ids[start : start + row_tokens]
        if len(piece) > 1:
            yield piece, len(text[ends[start] : ends[start + len(piece) - 1]].encode())


def _packed(pieces: Sequence[list[int] | Lesson], row_tokens: int) -> PackedRows:
    """All pieces in as many rows as they need."""
    padding = Lesson([0] * row_tokens, [False] * row_tokens)
    most = len(pieces)
    rows, _ = pack(
        lambda index: pieces[index] if index < len(pieces) else padding,
        Cursor(),
        rows=most,
        row_tokens=row_tokens,
        apart=True,
    )
    return rows[: int(rows.learned.any(axis=1).sum())]
