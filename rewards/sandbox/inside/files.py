"""Files in and out of the working directory, never through a link. Only while no program runs."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

TEMPORARY = "/tmp"
WORK = "/tmp/work"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def put(files: Sequence[tuple[bytes, bytes]]) -> None:
    """Write (path, contents) below the working directory, in the place of what stood there.

    Raises:
        OSError: the disk is full, or a file stands where a folder is wanted.
    """
    for path, contents in files:
        folder, name = _parent(path, is_made=True)
        try:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(name, flags, 0o755, dir_fd=folder), "wb", buffering=0) as file:
                rest = memoryview(contents)
                while rest:
                    rest = rest[file.write(rest) :]
        finally:
            os.close(folder)


def get(paths: Sequence[bytes], most_bytes: int) -> tuple[list[tuple[bytes, bytes]], bool]:
    """The regular files among `paths`, and whether one was left out for its size.

    Args:
        most_bytes: of all of them together; a file with holes may claim to be of any size.
    """
    found, is_cut = [], False
    for path in paths:
        contents = _read(path, most_bytes)
        if contents is None:
            continue
        if len(contents) > most_bytes:
            is_cut = True
            continue
        most_bytes -= len(contents)
        found.append((path, contents))
    return found, is_cut


def _read(path: bytes, most_bytes: int) -> bytes | None:
    """Up to one byte more than `most_bytes`; None where there is no such regular file."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        folder, name = _parent(path, is_made=False)
        try:
            file = os.open(name, flags, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError:
        return None
    with open(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        return stream.read(most_bytes + 1)


def _parent(path: bytes, *, is_made: bool) -> tuple[int, bytes]:
    """The folder that holds `path`, open, and the last part of its name."""
    *folders, name = [part for part in path.split(b"/") if part not in (b"", b".")]
    here = os.open(WORK, _FOLDER)
    try:
        for part in folders:
            if is_made:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=here)
            below = os.open(part, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
    except OSError:
        os.close(here)
        raise
    return here, name
