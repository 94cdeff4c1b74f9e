"""A folder that is there whole or not at all, whenever its writer dies.

It is written into a hidden sibling, flushed to the disk and renamed into place. When it replaces
another, the old folder steps aside first and goes only once the new one stands; whoever opens one
whose writer died between those two renames puts the old one back.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from uuid import uuid4


def draft_of(path: Path, writer: str = "") -> Path:
    """Where a folder is written before it gets its name.

    Args:
        path: of the folder.
        writer: a name that no other has, where an older one may still be at it.
    """
    return _sibling(path, f"draft{writer and '-'}{writer}")


def drafts_of(path: Path) -> list[Path]:
    """What is being written for that path, or was when its writer died."""
    return sorted(path.parent.glob(f".{path.name}.draft*"))


def remove_drafts(path: Path) -> None:
    """Remove what was being written for that path, even by a writer that goes on writing."""
    for draft in drafts_of(path):
        try:
            draft.rename(_sibling(path, f"gone-{uuid4().hex}"))  # at once, so it cannot be refilled
        except FileNotFoundError:
            continue
    for gone in path.parent.glob(f".{path.name}.gone-*"):
        shutil.rmtree(gone, ignore_errors=True)


def flush(folder: Path) -> None:
    """Force every file of the folder, and the folder, to the disk."""
    for entry in (*(file for file in folder.rglob("*")), folder):
        flush_one(entry)


def flush_one(entry: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(entry, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def swap(draft: Path, path: Path) -> None:
    """Rename `draft` to `path`, moving what stands there aside first."""
    put_back(path)
    aside = _sibling(path, "aside")
    shutil.rmtree(aside, ignore_errors=True)
    if path.exists():
        path.rename(aside)
    try:
        draft.rename(path)
    except OSError:
        put_back(path)
        raise
    flush_one(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def put_back(path: Path) -> None:
    """Undo a swap whose writer died after its first rename."""
    aside = _sibling(path, "aside")
    if aside.is_dir() and not path.exists():
        aside.rename(path)


def _sibling(path: Path, role: str) -> Path:
    return path.with_name(f".{path.name}.{role}")
