"""Layers that belong to one process, and what becomes of them when it was killed.

    store/.owned/417-9c0e.../            of a living process: locked by it
    store/.owned/417-9c0e.../3f9a...     it made layer 3f9a... for itself

A process marks a layer before the layer is there, and forgets both. The lock of one that was killed
is gone with it, so that whoever comes next to the store may take its layers away.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

OWNED = ".owned"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_lock = threading.Lock()
_mine: dict[str, Path] = {}
"""The folder of this process in each store."""


def mark(store: Path, digest: str) -> None:
    """The layer of that name, which is about to be made, is this process's."""
    (_folder_in(store) / digest).touch()


def unmark(store: Path, digest: str) -> None:
    """It is gone, or was never this process's."""
    with _lock:
        mine = _mine.get(os.path.realpath(store))
    if mine is not None:
        (mine / digest).unlink(missing_ok=True)


def sweep(store: Path, forget: Callable[[str], bool]) -> None:
    """Take away the layers of processes that are no more.

    Args:
        store: of the layers.
        forget: takes one away; False where it is in use.
    """
    for path in (store / OWNED).glob("*"):
        try:
            folder = os.open(path, _FOLDER)
        except OSError:
            continue  # somebody else was faster
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in os.listdir(folder):
                if forget(name):
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
            path.rmdir()
        except OSError:
            pass  # it lives, or a layer of its is in use
        finally:
            os.close(folder)


def _folder_in(store: Path) -> Path:
    """This process's own, locked for as long as it lives."""
    known = os.path.realpath(store)
    with _lock:
        while known not in _mine:
            path = store / OWNED / f"{os.getpid()}-{secrets.token_hex(8)}"
            path.mkdir(mode=0o700, parents=True)
            with suppress(FileNotFoundError):  # swept before it was locked
                folder = os.open(path, _FOLDER)
                fcntl.flock(folder, fcntl.LOCK_EX)
                if path.exists():
                    _mine[known] = path
        return _mine[known]


def _forget_parent() -> None:
    """In a forked child: what the parent owns is not the child's."""
    global _lock
    _lock = threading.Lock()
    _mine.clear()


os.register_at_fork(after_in_child=_forget_parent)
