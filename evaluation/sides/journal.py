"""Clicks on disk: a line each, flushed to the disk before anybody is told that it was saved.

A line that lost its end was never acknowledged: whoever opens the file next takes it away.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munro.evaluation.sides.types import BadSides

BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """Something that a rater did.

    Example:
        Click(at=1764300000.0, rater="r1", look=12, field="preference", value=5, tab="x7")
    """

    at: float
    """Seconds since 1970, by the server's clock."""
    rater: str
    look: int
    """Place in the rater's list."""
    field: str
    """ "preference", "left/CRITERION", "right/CRITERION", "done", "shown", "stale", "refused"."""
    value: Any = None
    tab: str = ""
    """Of the browser: two of them mean two windows."""


class Journal:
    """The one writer of a study's clicks.

    Raises (when made):
        BadSides: another process is writing, or the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise BadSides(f"cannot write {path}: {error.strerror or error}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise BadSides(f"another process serves this study: {path} is taken.") from None
        self._end = self._mended()
        _flush_folder(path.parent)

    def add(self, click: Click) -> None:
        """Keep it: it is on the disk when this returns.

        Raises:
            OSError: the disk refuses; nothing of it is kept.
        """
        line = (json.dumps(_plain(click)) + "\n").encode()
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._end += len(line)

    def close(self) -> None:
        """Let others write; this one no more."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _mended(self) -> int:
        """Where the last whole line ends; what follows it is cut off."""
        size = os.fstat(self._file).st_size
        end = size
        while end > 0:
            begin = max(0, end - BLOCK)
            block = os.pread(self._file, end - begin, begin)
            if (at := block.rfind(b"\n")) >= 0:
                end = begin + at + 1
                break
            end = begin
        if end < size:
            os.ftruncate(self._file, end)
            os.fsync(self._file)
        return end


def clicks_of(path: Path) -> Iterator[Click]:
    """All of them, in their order; none where nobody has clicked. A cut last line is passed over.

    Raises:
        BadSides: a line is damaged; names it.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadSides(f"cannot read {path}: {error.strerror or error}.") from error
    for number, line in enumerate(lines[:-1], 1):
        try:
            raw = json.loads(line)
            yield Click(
                at=float(raw["at"]),
                rater=raw["rater"],
                look=int(raw["look"]),
                field=raw["field"],
                value=raw.get("value"),
                tab=raw.get("tab", ""),
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BadSides(f"{path}, line {number} is no click: mend or remove it.") from None


def _plain(click: Click) -> Mapping[str, Any]:
    told = {"at": round(click.at, 3), "rater": click.rater, "look": click.look}
    told |= {"field": click.field}
    if click.value is not None:
        told["value"] = click.value
    if click.tab:
        told["tab"] = click.tab
    return told


def _flush_folder(folder: Path) -> None:
    """A new file's name too must outlive the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
