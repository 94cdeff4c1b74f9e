"""One process at a time in a folder.

The lock belongs to the process, not to the file: the kernel drops it however the process ends, and
no child of a killed process keeps it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from munro.machine.run.files import RunError, explained

FLOCK = "hhqqi4x"
"""Linux's `struct flock`: kind, whence, start, length, process."""
HELD_HERE: set[Path] = set()
"""Lock files of this process: opening and closing one a second time would drop its lock."""


@contextmanager
def held(lock_file: Path, what: str, otherwise: str) -> Iterator[None]:
    """Be the one process that has the lock.

    Args:
        lock_file: resolved; made where it is missing.
        what: is locked, for the message.
        otherwise: can be done instead of waiting, for the message.

    Raises:
        RunError: another process has it; the message names it.
    """
    if lock_file in HELD_HERE:
        raise RunError(f"{what} is already in use by this very process.")
    with explained(lock_file):
        lock = lock_file.open("a+", encoding="utf-8")
    with lock:
        if not _taken(lock):
            raise RunError(
                f"{what} is in use by process {_pid_in(lock)}: wait for it, stop it, or "
                f"{otherwise}."
            )
        HELD_HERE.add(lock_file)
        try:
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
        finally:
            HELD_HERE.discard(lock_file)


@contextmanager
def held_folder(folder: Path, otherwise: str) -> Iterator[None]:
    """Be the one process at work in `folder`, which is made where it is missing.

    Raises:
        RunError: another process is, or the folder cannot be made.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with held(folder.resolve() / ".lock", str(folder), otherwise):
        yield


def holder(lock_file: Path) -> int | None:
    """Id of the process that has the lock, or None."""
    if lock_file in HELD_HERE:
        return os.getpid()
    if not lock_file.exists():
        return None
    if sys.platform != "linux":
        with lock_file.open("r+", encoding="utf-8") as lock:
            return None if _taken(lock) else _pid_in(lock)
    # asked and not tried: whoever looks every second must not be in the way of one who begins
    with lock_file.open("r", encoding="utf-8") as lock:
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, *_, pid = struct.unpack(FLOCK, fcntl.fcntl(lock, fcntl.F_GETLK, asked))
        if kind == fcntl.F_UNLCK:
            return None
        # of a process on another machine the kernel has no number that means anything here
        return int(pid) if pid > 0 else _pid_in(lock)


def _taken(lock: IO[str]) -> bool:
    """Take the lock if no other process has it."""
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _pid_in(lock: IO[str]) -> int:
    lock.seek(0)
    text = lock.read().strip()
    return int(text) if text.isdigit() else 0
