"""Where things are put: shared memory, temporary files, the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from munro.base_model.small.cache import default_cache_dir
from munro.machine.doctor.types import GIB, Finding, gib

SHARED_MEMORY = Path("/dev/shm")
LEAST_SHARED = 2 * GIB
"""Ray's objects and the weights of a small model on their way to the servers."""
SOCKET_PATH = 107
"""Bytes that Linux allows the path of a socket."""


def check() -> Iterator[Finding]:
    """Sizes, lengths, and whether they can be written."""
    yield _shared_memory(SHARED_MEMORY)
    yield _temporary()
    yield _cache()


def _shared_memory(folder: Path) -> Finding:
    if not os.access(folder, os.W_OK):
        return Finding(
            name="shared memory",
            found=f"{folder} cannot be written",
            level="missing",
            cost="weights reach the servers through the run's folder, which is slower",
        )
    usage = shutil.disk_usage(folder)
    found = f"{folder}, {gib(usage.total)}, {gib(usage.free)} free"
    if usage.free >= LEAST_SHARED:
        return Finding(name="shared memory", found=found)
    return Finding(
        name="shared memory",
        found=found,
        level="missing",
        cost="Ray's objects and the weights of larger models do not fit: raise it (docker run "
        "--shm-size=8g), or set sync.weights_folder",
    )


def _temporary() -> Finding:
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    began = datetime.now().strftime("%Y-%m-%d_%H-%M-%S_%f")
    longest = len(f"{folder}/ray/session_{began}_{os.getpid():07d}/sockets/plasma_store.1".encode())
    spare = SOCKET_PATH - longest
    if not os.access(folder, os.W_OK):
        return Finding(
            name="TMPDIR",
            found=f"{folder} cannot be written",
            level="broken",
            cost="Ray does not start: export TMPDIR=/tmp",
        )
    free = gib(shutil.disk_usage(folder).free)
    found = f"{folder}, {len(folder.encode())} bytes long, {free} free"
    if spare >= 0:
        return Finding(name="TMPDIR", found=found)
    return Finding(
        name="TMPDIR",
        found=found,
        level="broken",
        cost=f"{-spare} bytes too long for Ray's sockets, which will not open: export TMPDIR=/tmp",
    )


def _cache() -> Finding:
    folder = default_cache_dir()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(there, os.W_OK):
        return Finding(
            name="cache",
            found=f"{folder} cannot be written",
            level="broken",
            cost="the embedded base has nowhere to stay: set XDG_CACHE_HOME",
        )
    bases = len(list(folder.glob("base-*/model/config.json")))
    return Finding(
        name="cache",
        found=f"{folder}, {bases} embedded {'base' if bases == 1 else 'bases'}, "
        f"{gib(shutil.disk_usage(there).free)} free",
        level="ok" if bases else "missing",
        cost="" if bases else "the first climb of the embedded base trains it, in minutes",
    )
