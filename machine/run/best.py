"""The best checkpoint of a run: which, by its held-out figures, and the link that points to it.

By the lower end of the interval, not by the mean: of many evaluations the highest mean is as likely
the luckiest. What is best follows from the run's folder alone, so a resumed run knows it too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from munro.machine.run.files import explained
from munro.machine.run.folder import RunFolder

LINK = "best"


def best_checkpoint(run: RunFolder, figure: str) -> int | None:
    """Step of the best evaluation that has a checkpoint; of equals the newest. None without one.

    Args:
        run: whose.
        figure: by the lower end of whose interval, as `checkpoint.best` names it.
    """
    low = _kept(run, figure)
    return max(low, key=lambda step: (low[step], step), default=None)


def is_better(run: RunFolder, figure: str, step: int, metrics: Mapping[str, float]) -> bool:
    """Whether these figures of a step are better than those of every checkpoint of another."""
    low = metrics.get(f"{figure}_low")
    if low is None or step <= 0:
        return False  # as after most steps, and the metrics of all others are long by then
    others = [value for kept, value in _kept(run, figure).items() if kept != step]
    return low > max(others, default=-1.0)


def link_best(run: RunFolder, figure: str) -> Path | None:
    """Let `checkpoints/best` point to the best checkpoint; None where there is none.

    On a file system without links there is none either.

    Raises:
        RunError: the disk refuses.
    """
    step = best_checkpoint(run, figure)
    link = run.checkpoints / LINK
    if step is None:
        return None
    target = run.checkpoint(step).name
    if link.is_symlink() and os.readlink(link) == target:
        return link
    draft = link.with_name(f".{LINK}.{os.getpid()}.part")
    with explained(link):
        with suppress(FileNotFoundError):
            draft.unlink()
        try:
            draft.symlink_to(target, target_is_directory=True)
        except (NotImplementedError, PermissionError):
            return None
        draft.replace(link)
    return link


def _kept(run: RunFolder, figure: str) -> dict[int, float]:
    """Lower ends of the intervals, by step, of the evaluations that have a checkpoint."""
    low = f"{figure}_low"
    there = {step for step, _ in run.list_checkpoints()}
    return {
        int(line["step"]): float(line[low])
        for line in run.metrics.read(naming=low)
        if line["step"] in there and line.get(low) is not None
    }
