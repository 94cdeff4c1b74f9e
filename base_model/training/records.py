"""Lines of JSON that grow with a run, and what a crash or a full disk may do to them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class RecordsError(Exception):
    """A line could not be written; says where and why, in one sentence."""

    is_sentence = True


class Records:
    """A file of JSON lines, written one by one; a torn last line is as good as none.

    Example:
        Records(folder / "metrics.jsonl").append({"step": 1, "loss": 6.2})
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line.

        Raises:
            RecordsError: the disk refused.
        """
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise RecordsError(
                f"cannot write {self.file}: {error.strerror}. Mend that, and the same command "
                "goes on from the last checkpoint."
            ) from error

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every whole line, oldest first; none where there is no file."""
        if not self.file.is_file():
            return
        with self.file.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)

    def keep(self, *, up_to: int) -> None:
        """Drop what was written after that step: the steps were lost, and will be taken again.

        Raises:
            RecordsError: the disk refused.
        """
        if self.file.is_file():
            self._replace([record for record in self if record["step"] <= up_to])

    def mend(self) -> None:
        """Cut off a line that a crash tore, so that the next one begins on a line of its own."""
        if not self.file.is_file():
            return
        with self.file.open("rb+") as file:
            whole = file.read().rfind(b"\n") + 1
            file.truncate(whole)

    def _replace(self, records: list[dict[str, Any]]) -> None:
        write_whole(self.file, "".join(json.dumps(record) + "\n" for record in records))


def write_whole(file: Path, text: str) -> None:
    """Replace a file, or leave it as it was.

    Raises:
        RecordsError: the disk refused.
    """
    draft = file.with_name(f".{file.name}.draft")
    try:
        with draft.open("w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
    except OSError as error:
        raise RecordsError(f"cannot write {file}: {error.strerror}.") from error
