"""What a format of documents must be able to say. One file each in `formats/`, found by name."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, NotRequired, TypedDict

from munro.rewards.plugins import Registry

MOST_PICTURE = 2_900_000
"""Bytes of a picture of a page, which a child hands over as text."""


class RawPage(TypedDict):
    """A page as a child hands it over."""

    text: str
    headings: list[int]
    """Begin, end and level of each heading that the format itself names, one after another."""
    unmapped: NotRequired[int]
    """Glyphs of which the file does not say what they mean, whatever the text has for them."""
    problem: str
    """Why the text cannot be used, with what shows it; empty where it can."""


class Unreadable(Exception):
    """A document that cannot be read: a short reason, and what shows it."""

    def __init__(self, reason: str, evidence: str = "") -> None:
        super().__init__(reason, evidence)
        self.reason, self.evidence = reason, evidence


class Format:
    """A format of documents. Its methods run in a child with limits on time and memory."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Of its files, in lower case."""

    @classmethod
    def lacking(cls) -> str:
        """What it needs and has not, with the way out; empty where it is ready."""
        return ""

    @classmethod
    def looks_like(cls, head: bytes) -> bool:
        """Whether the first 1024 bytes of a file may be of this format."""
        raise NotImplementedError

    @classmethod
    def count(cls, file: str) -> int:
        """How many pages it has.

        Raises:
            Unreadable: it cannot be opened.
        """
        raise NotImplementedError

    @classmethod
    def pages(cls, file: str, first: int, after: int, most: int) -> list[RawPage]:
        """Pages `first` to `after - 1`, from 0; of more than `most` characters it hands over none.

        Raises:
            Unreadable: they cannot be read.
        """
        raise NotImplementedError

    @classmethod
    def picture(cls, file: str, number: int, dpi: int) -> bytes:  # noqa: ARG003 - most have none
        """Page `number`, from 0, as a PNG or JPEG of at most `MOST_PICTURE` bytes.

        Raises:
            Unreadable: it cannot be drawn.
        """
        raise Unreadable("no picture of it", f"{cls.__name__} files hold text alone")


def _is_format(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, Format) and value is not Format


FORMATS = Registry(
    what="format of documents",
    group="munro.questions.formats",
    home="munro.questions.parse.formats",
    fits=_is_format,
)
