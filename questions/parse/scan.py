"""What a reader of scans must be able to say. One file each in `scans/`, found by name."""

from __future__ import annotations

import inspect
from typing import Any

from munro.questions.config import ScansConfig
from munro.questions.errors import QuestionsError
from munro.rewards.plugins import BadPlugin, Registry


class Unread(Exception):
    """A page that a reader could make nothing of; says why, in a few words."""


class ScanReader:
    """Reads pictures of pages. Safe to use from `at_once` threads.

    What it returns is taken for what stands on the page, and goes through every rule that text out
    of a file does. It must copy, and never write.
    """

    def __init__(self, config: ScansConfig) -> None:
        """Nothing is started or sent."""
        self.config = config

    def close(self) -> None:
        """Free what is held. Safe to call twice."""

    @property
    def at_once(self) -> int:
        """Pages that it may be given together."""
        return 1

    def lacking(self) -> str:
        """What it needs and has not, in one sentence with the way out; empty where it is ready."""
        raise NotImplementedError

    @property
    def identity(self) -> Any:
        """All that what it reads depends on, as JSON can say it. Asked once it lacks nothing."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What a page says that it was read by."""
        raise NotImplementedError

    def read(self, picture: bytes) -> str:
        """The text of one page.

        Args:
            picture: PNG or JPEG.

        Raises:
            Unread: of this page nothing can be had.
            QuestionsError: it reads nothing at all just now; the build stops and goes on later.
        """
        raise NotImplementedError


def _is_reader(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, ScanReader) and value is not ScanReader


READERS = Registry(
    what="reader of scans",
    group="munro.questions.scans",
    home="munro.questions.parse.scans",
    fits=_is_reader,
)


def reader_of(config: ScansConfig) -> ScanReader | None:
    """The reader that a recipe names; None where it names none.

    Raises:
        QuestionsError: there is no such reader.
    """
    if not config.reader:
        return None
    try:
        kind: type[ScanReader] = READERS.find(config.reader)
    except BadPlugin as error:
        raise QuestionsError(f"scans.reader: {error}") from None
    return kind(config)
