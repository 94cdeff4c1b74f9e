"""Writing into a run's folder so that a crash or a full disk never leaves half a file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT}


class RunError(Exception):
    """Something about a run's folder that a person must settle; the message is the whole story."""

    is_sentence = True


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system says about writing `path` into one sentence.

    Raises:
        RunError: for every `OSError` raised inside, naming the path and the way out.
    """
    try:
        yield
    except OSError as failure:
        if failure.errno in FULL:
            raise RunError(
                f"No space left while writing {path}: free some of that disk, or move the run's "
                "folder; then the same command resumes."
            ) from failure
        reason = failure.strerror or str(failure)
        raise RunError(f"Cannot write {path}: {reason}.") from failure


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text`, or leave it as it was.

    The text is on the disk before the name points to it, so that even a power cut leaves either
    the old file or the new one.

    Raises:
        RunError: disk full, no permission.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with explained(path):
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            raise
