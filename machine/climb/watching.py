"""The most memory that each process of a climb has had, by what the process is.

Read is VmHWM, the peak of a process's resident set as Linux keeps it: nothing is missed between two
looks, and pages of files that several processes share count in each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

ACTORS = {
    "ray::_Rank": "learner",
    "ray::_ServerActor": "server",
    "ray::_WorkerActor": "worker",
    "ray::_GraderActor": "grader",
    "ray::_RegistryActor": "registry",
}


def peaks(root: int) -> dict[str, int]:
    """Bytes of the largest process of each kind among a climb's, as of now.

    Args:
        root: the climb's own process.

    Returns:
        By kind: driver, server, engine, worker, learner, and where there are others, "other".
    """
    found: dict[str, int] = {}
    with suppress(psutil.Error):
        top = psutil.Process(root)
        for process, kind in [(top, "driver"), *_kinds(top)]:
            found[kind] = max(found.get(kind, 0), _peak(process.pid))
    return found


def more(before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    """The larger of each."""
    return {kind: max(before.get(kind, 0), now.get(kind, 0)) for kind in before.keys() | now.keys()}


def _kinds(top: psutil.Process) -> Iterator[tuple[psutil.Process, str]]:
    named: dict[int, str] = {}
    # parents come before their children
    for process in sorted(top.children(recursive=True), key=lambda one: one.create_time()):
        with suppress(psutil.Error):
            title = (process.cmdline() or [""])[0]
            kind = next((k for name, k in ACTORS.items() if title.startswith(name)), "")
            above = named.get(process.ppid(), "")
            if not kind and above in ("server", "engine"):
                kind = "engine"
            named[process.pid] = kind = kind or "other"
            yield process, kind


def _peak(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
