"""Files in and out of a container: those of a job, what an image holds, and what is there later.

Runs inside, as part of `docker_supervisor`, and not while a program moves. Standard library only.
An entry is [path, kind, mode, time of last change, size, target], a path one character a byte;
contents follow one after another, of files alone.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from munro.rewards.sandbox import tree
from munro.rewards.sandbox.inside import files
from munro.rewards.sandbox.inside.files import TEMPORARY, WORK
from munro.rewards.sandbox.tree import Kind

PACKAGES = f"{TEMPORARY}/packages"
PROGRAM = 65534
"""User and group of the program."""

Entry = list[Any]
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def spread(top: str, entries: list[Entry], blob: bytes) -> None:
    """Make a tree below a folder that is there and empty; folders come before what is in them."""
    start = 0
    folders = []
    for packed, kind, mode, mtime_ns, size, target in entries:
        path = os.fsencode(top) + b"/" + packed.encode("latin-1")
        if kind == Kind.FOLDER:
            os.mkdir(path, 0o700)
            folders.append((path, mode, mtime_ns))
        elif kind == Kind.LINK:
            os.symlink(target.encode("latin-1"), path)
        else:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                rest = memoryview(blob)[start : start + size]
                start += size
                while rest:
                    rest = rest[os.write(file, rest) :]
                os.fchmod(file, mode)
                os.utime(file, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(file)
    for path, mode, mtime_ns in reversed(folders):
        os.utime(path, ns=(mtime_ns, mtime_ns))
        os.chmod(path, mode)


def gather(top: str, most_bytes: int) -> tuple[list[Entry], list[bytes]]:
    """All that is below a folder; a file that does not fit in `most_bytes` says a size of -1."""
    entries: list[Entry] = []
    contents: list[bytes] = []
    folder = os.open(top, _FOLDER)
    try:
        for node in tree.walk(folder):
            size, target = 0, ""
            if node.kind is Kind.LINK:
                target = tree.target_of(node).decode("latin-1")
            elif node.kind is Kind.FILE:
                size = node.status.st_size
                if size <= most_bytes:
                    with open(tree.open_file(node), "rb") as file:
                        contents.append(file.read(size))
                    size = len(contents[-1])
                    most_bytes -= size
                else:
                    size = -1
            # a device 0/0 means nothing here, where no overlay is
            kind = Kind.OTHER if node.kind is Kind.DELETED else node.kind
            is_deep = kind is Kind.OTHER and stat.S_ISDIR(node.status.st_mode)
            entries.append(
                [
                    node.path.decode("latin-1"),
                    str(kind),
                    node.mode,
                    node.status.st_mtime_ns,
                    size,
                    "deep" if is_deep else target,
                ]
            )
    finally:
        os.close(folder)
    return entries, contents


@contextmanager
def as_program() -> Iterator[None]:
    """Touch its files as itself. Only while none of its processes lives."""
    os.setegid(PROGRAM)
    os.seteuid(PROGRAM)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def put(brought: list[tuple[str, bytes]]) -> None:
    """Write what the job brings."""
    with as_program():
        if os.path.islink(WORK) or os.path.isfile(WORK):
            os.unlink(WORK)
        os.makedirs(WORK, exist_ok=True)
        os.chmod(WORK, 0o755)
        for path, content in brought:
            make_way(path)
            with open(f"{WORK}/{path}", "wb") as file:
                file.write(content)


def make_way(path: str) -> None:
    """Folders down to it, and nothing at it, whatever an earlier command left there."""
    *folders, name = path.split("/")
    here = WORK
    for folder in folders:
        here = f"{here}/{folder}"
        if os.path.islink(here) or not os.path.isdir(here):
            with suppress(FileNotFoundError):
                os.unlink(here)
            os.mkdir(here)
        os.chmod(here, 0o755)
    whole = f"{here}/{name}"
    if os.path.isdir(whole) and not os.path.islink(whole):
        os.rename(whole, f"{WORK}/.{time.monotonic_ns()}")  # removing a tree can be made to fail
    with suppress(FileNotFoundError):
        os.unlink(whole)


def open_below(path: str) -> int:
    """A regular file below the working directory, no link followed on the way."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    *folders, name = path.split("/")
    here = os.open(WORK, flags | os.O_DIRECTORY)
    try:
        for folder in folders:
            below = os.open(folder, flags | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        return os.open(name, flags, dir_fd=here)
    finally:
        os.close(here)


def get(paths: list[str], most_bytes: int) -> tuple[list[tuple[int, bytes]], bool]:
    """Those that are there, by their place in `paths`, and whether one was too long to bring."""
    found, cut = [], False
    for place, path in enumerate(paths):
        try:
            with as_program():
                descriptor = open_below(path)
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                os.close(descriptor)
                continue
            with open(descriptor, "rb") as file:
                if status.st_size > most_bytes:
                    cut = True
                    continue
                found.append((place, file.read(most_bytes)))
        except OSError:
            continue
        most_bytes -= len(found[-1][1])
    return found, cut


def change(head: dict[str, Any], blob: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """What the host asks of the files between two jobs, as the program's user."""
    if head["does"] == "spread":
        spread(WORK, head["entries"], blob)
        return {}, []
    if head["does"] == "gather":
        entries, contents = gather(WORK, head["most_bytes"])
        return {"entries": entries}, [b"".join(contents)]
    path = head["path"].encode("latin-1")
    if head["does"] == "look":
        kind, mode, size, names, inside = files.look(path, head["most_bytes"], head["depth"])
        listed = [name.decode("latin-1") for name in names]
        return {"kind": kind, "mode": mode, "size": size, "names": listed}, [inside]
    return {"refused": files.write(path, blob if head["does"] == "write" else None)}, []


@contextmanager
def standstill(*, is_needed: bool) -> Iterator[None]:
    """While this lasts, no process of a session that keeps them goes on."""
    if not is_needed:
        yield
        return
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGCONT)
