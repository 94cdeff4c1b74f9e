"""Folders that go from node to node part by part, where the nodes share no disk.

A side that is reached by `call(function, *arguments)` runs the functions of this file on its node.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from munro.base_model.checkpoint import CheckpointError
from munro.base_model.whole import draft_of, flush, swap
from munro.rollout.waits import own

PART = 64 << 20
"""Bytes that travel at once."""

Call = Callable[..., Any]


def is_seen(folder: Path, call: Call) -> bool:
    """Whether the other side sees the very folder that is here, and not one of the same name."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f".seen-{uuid4().hex}"
    mark.touch()
    try:
        return bool(call(exists, str(mark)))
    finally:
        mark.unlink()


def bring(there: str, here: Path, call: Call) -> None:
    """Bring a folder of the other side here, whole or not at all, and remove it there.

    Raises:
        CheckpointError: the disk here refused; what stood here before still does.
    """
    draft = draft_of(here)
    try:
        shutil.rmtree(draft, ignore_errors=True)
        for name, size in call(files, there):
            for offset in range(0, max(size, 1), PART):
                write(str(draft), name, offset, call(read, there, name, offset))
        flush(draft)
        swap(draft, here)
    except OSError as error:
        raise CheckpointError(here, f"could not be written ({error})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    call(remove, there)


def send(here: Path, there: str, call: Call) -> None:
    """Send a folder to the other side, unless it has it already."""
    mark = f"{there}.whole"
    if call(exists, mark):
        return
    for name, size in files(str(here)):
        for offset in range(0, max(size, 1), PART):
            call(write, there, name, offset, read(str(here), name, offset))
    call(write, str(Path(mark).parent), Path(mark).name, 0, b"")


def files(folder: str) -> list[tuple[str, int]]:
    """Names below the folder, with their sizes in bytes."""
    found = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return [(str(path.relative_to(folder)), path.stat().st_size) for path in found]


def read(folder: str, name: str, offset: int) -> bytes:
    """A part of a file."""
    with (Path(folder) / name).open("rb") as file:
        file.seek(offset)
        return file.read(PART)


def write(folder: str, name: str, offset: int, part: bytes) -> None:
    """A part of a file, in its place; the folder is made where it is missing."""
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        file.write(part)


def exists(path: str) -> bool:
    """Whether there is such a path."""
    return Path(path).exists()


def remove(folder: str) -> None:
    """The folder goes with all it holds, and what said that it was whole."""
    Path(f"{folder}.whole").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def scratch_of(of: str) -> str:
    """The node's own folder for what belongs to a path of the driver's."""
    return str(own(of))
