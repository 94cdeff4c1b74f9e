"""What consolidation kept: results by task and model, and what they say in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from munro.machine.pipeline.plan import Phase

CLOSE = 5.0
"""Points within which a model counts as having kept what a specialist can do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Pass rates by task and model."""

    tasks: tuple[str, ...]
    """Named by the climb whose tasks they are."""
    models: tuple[str, ...]
    """In the order in which they were made."""
    results: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Model, task, to "mean", "low", "high"."""
    first: str
    """The model that none of the others was there before: the base."""
    last: str
    """The model that was made of all of them."""

    def rate(self, model: str, task: str) -> float:
        """Pass rate in [0, 1]."""
        return self.results[model][task]["mean"]

    def kept(self, task: str) -> float | None:
        """Points that the last model is above the task's specialist; None without one."""
        if task not in self.models or task == self.last:
            return None
        return 100 * (self.rate(self.last, task) - self.rate(task, task))

    @property
    def verdict(self) -> str:
        """Whether the last model is close to every specialist, and better than the base."""
        points = {task: self.kept(task) for task in self.tasks}
        lost = [task for task, kept in points.items() if kept is not None and kept < -CLOSE]
        worse = [
            task for task in self.tasks if self.rate(self.last, task) <= self.rate(self.first, task)
        ]
        near = (
            f"{self.last} is within {CLOSE:g} points of every specialist on its own task"
            if not lost
            else f"{self.last} is more than {CLOSE:g} points below the specialist on "
            f"{', '.join(lost)}"
        )
        better = (
            f"better than {self.first} on all"
            if not worse
            else f"no better than {self.first} on {', '.join(worse)}"
        )
        return f"{near}; {better}."


def table(results: Mapping[str, Any], phases: Sequence[Phase]) -> Table:
    """The table of an evaluation's results; models in the order of the phases."""
    order = [phase.name for phase in phases if phase.name in results]
    models = (*order, *(name for name in results if name not in order))
    tasks = tuple(dict.fromkeys(task for of in results.values() for task in of))
    return Table(tasks=tasks, models=models, results=results, first=models[0], last=models[-1])
