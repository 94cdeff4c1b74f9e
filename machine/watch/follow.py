"""What was appended to a file since the last look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

AT_ONCE = 1 << 24
"""Bytes read in one go."""


class Lines:
    """The whole lines of a file that grows, each given once.

    A file that was replaced or cut (a resumed run forgets what it takes again) begins anew:
    `generation` then counts up, and what was given before is void.

    Example:
        lines = Lines(Path("runs/stem/metrics.jsonl"))
        for line in lines.more(): ...
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0
        self.unreadable = 0
        """Lines of this generation that are no JSON objects."""
        self._offset = 0
        self._inode = 0

    def begins_anew(self) -> bool:
        """Whether the file is another one than at the last look; nothing where it is not there.

        Raises:
            OSError: it cannot be looked at.
        """
        try:
            now = self.path.stat()
        except FileNotFoundError:
            is_new = self._offset > 0
            self._inode = 0
        else:
            is_new = self._inode not in (0, now.st_ino) or now.st_size < self._offset
            self._inode = now.st_ino
        if is_new:
            self.generation += 1
            self._offset = self.unreadable = 0
        return is_new

    def more(self) -> Iterator[dict[str, Any]]:
        """Objects of the lines that are new; one that is still being written waits.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self._offset)
            while chunk := file.read(AT_ONCE):
                end = chunk.rfind(b"\n") + 1
                if not end and len(chunk) < AT_ONCE:
                    return
                # a line longer than what is read at once is none of ours
                self._offset += end or len(chunk)
                file.seek(self._offset)
                for raw in chunk[:end].split(b"\n")[:-1]:
                    if (found := _object(raw)) is not None:
                        yield found
                    else:
                        self.unreadable += 1


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
