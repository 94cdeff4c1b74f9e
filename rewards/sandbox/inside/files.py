"""Files in and out of the working directory, never through a link. Only while no program runs.

What an earlier program of a session left in the way (a link, a folder that nobody may enter) is
moved aside: it can make our files neither go elsewhere nor fail to be written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack, suppress

TEMPORARY = "/tmp"
WORK = "/tmp/work"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def put(files: Sequence[tuple[bytes, bytes]]) -> None:
    """Write (path, contents) below the working directory, which is made one again if it is none.

    Raises:
        OSError: the disk is full.
    """
    os.chmod(TEMPORARY, 0o1777)
    with ExitStack() as stack:
        work = _make(stack, _open(stack, TEMPORARY), b"work")
        for path, contents in files:
            *folders, name = _parts(path)
            here = work
            for part in folders:
                here = _make(stack, here, part)
            _clear(here, name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(name, flags, 0o755, dir_fd=here)
            try:
                rest = memoryview(contents)
                while rest:
                    rest = rest[os.write(file, rest) :]
            finally:
                os.close(file)


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
    *folders, name = _parts(path)
    with ExitStack() as stack:
        try:
            here = _open(stack, WORK)
            for part in folders:
                here = _open(stack, part, here)
            file = os.open(name, flags, dir_fd=here)
        except OSError:
            return None
        stack.callback(os.close, file)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        with open(file, "rb", closefd=False) as stream:
            return stream.read(most_bytes + 1)


def _parts(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def _open(stack: ExitStack, name: str | bytes, within: int | None = None) -> int:
    """A folder, open until the stack is left."""
    descriptor = os.open(name, _FOLDER, dir_fd=within)
    stack.callback(os.close, descriptor)
    return descriptor


def _make(stack: ExitStack, here: int, name: bytes) -> int:
    """The folder `name` in `here`: the one that is there, or a new one."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(name, dir_fd=here).st_mode):
            os.chmod(name, 0o755, dir_fd=here)
        else:
            os.unlink(name, dir_fd=here)
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=here)
    return _open(stack, name, here)


def _clear(here: int, name: bytes) -> None:
    """Let nothing stand at `name` in `here`."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(name, dir_fd=here).st_mode):
            # not emptied: that could take for ever
            os.rename(
                name, b".was-" + os.urandom(8).hex().encode(), src_dir_fd=here, dst_dir_fd=here
            )
        else:
            os.unlink(name, dir_fd=here)
