"""What a run is doing: who waits for whom, and since when."""

from __future__ import annotations

import time
from pathlib import Path

from munro.machine.run.console import duration
from munro.machine.run.folder import RunFolder
from munro.rollout.waits import ProcessWaits, read_waits


def describe(path: Path) -> str:
    """A few lines on the run in `path`, also while it runs.

    Raises:
        RunError: there is no run.
    """
    run = RunFolder.existing(path)
    info = run.read_info()
    assert info is not None
    rows = run.metrics.read()
    lines = [f"{run.path}: {info.status}" + (f" ({info.cause})" if info.cause else "")]
    if rows:
        lines.append(f"step {rows[-1]['step']}, last word {info.updated}")
    if run.holder is None:
        lines.append("no process holds the run")
        return "\n".join(lines)
    lines.append(f"driver is process {run.holder}")
    for process in read_waits(run.path):
        lines += _of_process(process)
    return "\n".join(lines)


def _of_process(process: ProcessWaits) -> list[str]:
    if not process.is_alive:
        return [f"{process.process} (pid {process.pid}): gone"]
    head = f"{process.process} (pid {process.pid}): "
    if not process.waits:
        return [head + "waits for nothing"]
    found = [head + f"{process.num_waits} waits"]
    for wait in process.waits:
        since = duration(time.time() - wait.since)
        overdue = " OVERDUE" if wait.remaining == 0 else ""
        found.append(f"  {wait.what}: {since}, at most {duration(wait.deadline_s)}{overdue}")
    return found
