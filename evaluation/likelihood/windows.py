"""Texts cut by their characters alone, so that every tokenizer is asked for the same bytes.

text ──► pieces that make it up again, none longer than a window
piece ──► Window: the piece, and what of the text before it is shown
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is predicted, and what is shown before it.

    Example:
        Window(context="def f(x):", target=" return x")
    """

    target: str
    context: str = ""

    @property
    def num_bytes(self) -> int:
        """That are predicted."""
        return len(self.target.encode())


def windows(text: str, *, window_bytes: int, context_bytes: int) -> Iterator[Window]:
    """A text from one end to the other; the targets make it up again."""
    at = 0
    for piece in pieces(text, window_bytes):
        yield Window(target=piece, context=ending(text[:at], context_bytes))
        at += len(piece)


def pieces(text: str, most: int) -> Iterator[str]:
    """Parts of a text of at most so many UTF-8 bytes, which make it up again.

    They are parted before white space where there is some, for no tokenizer joins what is on its
    two sides; a part that has none in its second half is cut between two characters.
    """
    rest = text
    while rest:
        piece = beginning(rest, most)
        if len(piece) < len(rest):
            least = max(len(piece) // 2, 1)
            cut = next((at for at in range(len(piece), least, -1) if _parts(rest, at)), 0)
            piece = piece[:cut] or piece
        yield piece
        rest = rest[len(piece) :]


def growing(text: str, *, scored_bytes: int, contexts: Sequence[int]) -> dict[int, Window]:
    """The end of a text at ever longer contexts; those that the text does not have are left out."""
    target = ending(text, scored_bytes)
    before = text[: len(text) - len(target)]
    size = len(before.encode())
    return {
        context: Window(target=target, context=ending(before, context))
        for context in contexts
        if context <= size
    }


def parted(
    text: str, others: str, *, document_bytes: int, distances: Sequence[int]
) -> dict[int, Window]:
    """The second half of a document, with ever more of something else after its first half.

    Args:
        text: of the document; one that is too short gives nothing.
        others: texts that have nothing to do with it.
        document_bytes: both halves.
        distances: bytes of `others` in between; those that it does not have are left out.
    """
    first = beginning(text, document_bytes // 2)
    second = beginning(text[len(first) :], document_bytes // 2)
    if len((first + second).encode()) < document_bytes - 8:
        return {}
    size = len(others.encode())
    return {
        distance: Window(target=second, context=first + beginning(others, distance))
        for distance in distances
        if distance <= size
    }


def beginning(text: str, most: int) -> str:
    """As many characters of the start as fit into so many bytes; at least one."""
    if most == 0:
        return ""
    kept = text[:most].encode()[:most].decode(errors="ignore")
    return kept or text[:1]


def ending(text: str, most: int) -> str:
    """As many characters of the end as fit into so many bytes."""
    if most == 0:
        return ""
    return text[-most:].encode()[-most:].decode(errors="ignore")


def _parts(text: str, at: int) -> bool:
    """Whether a word ends before a place, and a single white space stands there."""
    return text[at].isspace() and not text[at - 1].isspace()
