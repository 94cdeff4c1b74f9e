"""What consolidation kept: results by task and model, and what they say in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from munro.evaluation.statistics import Estimate, tasks_to_decide
from munro.machine.pipeline.plan import Phase

CLOSE = 5.0
"""Points within which a model counts as having kept what a specialist can do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A paired difference of two pass rates, with its 95% interval, in [-1, 1].

    Example:
        Difference(mean=-0.01, low=-0.04, high=0.02, tasks=200)
    """

    mean: float
    low: float
    high: float
    tasks: int

    @property
    def estimate(self) -> Estimate:
        """Without the number of tasks."""
        return Estimate(mean=self.mean, low=self.low, high=self.high)

    def __str__(self) -> str:
        points = (100 * end for end in (self.mean, self.low, self.high))
        return "{:+.1f} ({:+.1f} to {:+.1f})".format(*points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Pass rates by task and model."""

    tasks: tuple[str, ...]
    """Named by the climb whose tasks they are."""
    models: tuple[str, ...]
    """In the order in which they were made."""
    results: Mapping[str, Mapping[str, Mapping[str, Any]]]
    """Model, task, to "mean", "low", "high", and "above" other models."""
    first: str
    """The model that none of the others was there before: the base."""
    last: str
    """The model that was made of all of them."""

    def rate(self, model: str, task: str) -> float:
        """Pass rate in [0, 1]."""
        return float(self.results[model][task]["mean"])

    def above(self, model: str, other: str, task: str) -> Difference | None:
        """What a model is above another on a task; None where no attempts of them were kept."""
        found = self.results[model][task].get("above", {}).get(other)
        return None if found is None else Difference(**found)

    def specialist(self, task: str) -> str | None:
        """The model that was climbed on the task, where it is another than the last."""
        return task if task in self.models and task != self.last else None

    def kept(self, task: str) -> Difference | None:
        """What the last model is above the task's specialist; None without one."""
        specialist = self.specialist(task)
        return self.above(self.last, specialist, task) if specialist else None

    @property
    def verdict(self) -> str:
        """Whether the last model is close to every specialist, and better than the base.

        By the intervals of paired differences: what lies on neither side of a bound cannot be told.
        """
        own = [task for task in self.tasks if self.specialist(task)]
        if any(self.kept(task) is None for task in own):
            return (
                "These results were made before attempts were stored, so there is no interval of "
                "what was kept: remove the phase's folder to measure again."
            )
        return f"{self._near(own)}; {self._better()}."

    def _near(self, own: Sequence[str]) -> str:
        points = {task: kept for task in own if (kept := self.kept(task))}
        lost = [task for task, kept in points.items() if kept.high < -CLOSE / 100]
        doubtful = [
            _doubt(task, kept, -CLOSE / 100)
            for task, kept in points.items()
            if kept.low < -CLOSE / 100 <= kept.high
        ]
        if lost:
            said = f"{self.last} is more than {CLOSE:g} points below the specialist on "
            said += ", ".join(lost)
        elif doubtful:
            return (
                f"whether {self.last} is within {CLOSE:g} points of the specialist cannot be told "
                f"on {', '.join(doubtful)}"
            )
        else:
            return f"{self.last} is within {CLOSE:g} points of every specialist on its own task"
        return said + (f"; that cannot be told on {', '.join(doubtful)}" if doubtful else "")

    def _better(self) -> str:
        above = {task: self.above(self.last, self.first, task) for task in self.tasks}
        worse = [task for task, one in above.items() if one and one.mean <= 0]
        doubtful = [
            _doubt(task, one, 0.0) for task, one in above.items() if one and one.low <= 0 < one.mean
        ]
        if not worse and not doubtful:
            return f"better than {self.first} on all"
        told = [f"no better than {self.first} on {', '.join(worse)}"] if worse else []
        if doubtful:
            told.append(
                f"better than {self.first} is more than can be told on {', '.join(doubtful)}"
            )
        return "; ".join(told)


def _doubt(task: str, found: Difference, bound: float) -> str:
    """A task, and how many tasks would decide it."""
    needed = tasks_to_decide(found.estimate, bound, found.tasks)
    return f"{task} (about {needed} tasks would)" if needed else task


def table(results: Mapping[str, Any], phases: Sequence[Phase]) -> Table:
    """The table of an evaluation's results; models in the order of the phases."""
    order = [phase.name for phase in phases if phase.name in results]
    models = (*order, *(name for name in results if name not in order))
    tasks = tuple(dict.fromkeys(task for of in results.values() for task in of))
    return Table(tasks=tasks, models=models, results=results, first=models[0], last=models[-1])
