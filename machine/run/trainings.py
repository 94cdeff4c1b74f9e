"""Small trainings side by side, as a person watches them: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from munro.machine.run.console import duration

if TYPE_CHECKING:
    from munro.base_model.results import TrainedRun
    from munro.base_model.scaling.plan import Plan
    from munro.base_model.scaling.rungs import Progress, Setting


def watched(
    planned: Sequence[Plan], setting: Setting, say: Callable[[str], None]
) -> list[TrainedRun]:
    """`munro.base_model.scaling.rungs.train_all`, shown.

    Raises:
        RungFailed: some trainings failed.
    """
    from munro.base_model.scaling.rungs import train_all

    before = [plan for plan in planned if setting.result(plan) is not None]
    if before:
        say(f"{len(before)} of {len(planned)} trainings are done already")
    if len(before) == len(planned):
        return train_all(planned, setting)
    if sys.stderr.isatty():
        return _with_bars(planned, setting)
    return train_all(planned, setting, on_progress=_Lines(len(before), say))


def _with_bars(planned: Sequence[Plan], setting: Setting) -> list[TrainedRun]:
    from rich import progress as rich_progress
    from rich.console import Console

    from munro.base_model.scaling.rungs import train_all

    console = Console(stderr=True)
    columns = (
        rich_progress.TextColumn("{task.description:<28}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[loss]:>7}  {task.fields[left]}"),
    )
    with rich_progress.Progress(*columns, console=console) as bars:
        tasks = [
            bars.add_task(
                f"{plan.name} {plan.rung}", total=plan.training.num_steps, loss="", left=""
            )
            for plan in planned
        ]

        def show(progress: Sequence[Progress]) -> None:
            for task, each in zip(tasks, progress, strict=True):
                loss = "" if math.isnan(each.loss) else f"{each.loss:.3f}"
                left = "" if math.isnan(each.seconds_left) else duration(each.seconds_left)
                bars.update(task, completed=each.step, loss=loss, left="" if each.done else left)

        return train_all(planned, setting, on_progress=show)


class _Lines:
    """A line for every training that is done."""

    def __init__(self, done: int, say: Callable[[str], None]) -> None:
        self._told: set[int] = set()
        self._first, self._before, self._say = True, done, say

    def __call__(self, progress: Sequence[Progress]) -> None:
        done = {number for number, each in enumerate(progress) if each.done}
        for number in sorted(done - self._told):
            each = progress[number]
            if not self._first:
                self._say(
                    f"{each.plan.name} {each.plan.rung}: loss {each.loss:.3f} after {each.step:,} "
                    f"steps ({len(done)} of {len(progress)} done)"
                )
        self._told, self._first = done, False
