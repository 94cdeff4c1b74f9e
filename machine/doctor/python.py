"""Python, and the machine below it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator

import psutil

import munro
from munro.machine.doctor.types import Finding, gib


def check() -> Iterator[Finding]:
    """Version, cores, memory."""
    where = os.path.dirname(munro.__file__ or "")
    yield Finding(name="munro", found=f"{munro.__version__}, from {where}")
    old = sys.version_info < (3, 11)
    yield Finding(
        name="Python",
        found=f"{platform.python_version()}, {sys.executable}",
        level="broken" if old else "ok",
        cost="Munro needs 3.11 or newer" if old else "",
    )
    memory = psutil.virtual_memory()
    yield Finding(
        name="machine",
        found=f"{platform.system()} on {platform.machine()}, {psutil.cpu_count()} cores, "
        f"{gib(memory.total)} of memory, {gib(memory.available)} free",
    )
