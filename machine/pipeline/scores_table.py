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
    judged: tuple[str, ...]
    """Models that shall have kept what specialists can do: consolidated ones, and the last."""

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

    def kept(self, task: str, model: str = "") -> Difference | None:
        """What a model, the last unless named, is above the task's specialist; None without one."""
        specialist = self.specialist(task)
        return self.above(model or self.last, specialist, task) if specialist else None

    @property
    def verdict(self) -> str:
        """Whether consolidation and the last model are close to every specialist, whether the last
        is better than the base, and whether it keeps to the gates that its tasks are paid behind.

        By the intervals of paired differences: what lies on neither side of a bound cannot be told.
        """
        own = [task for task in self.tasks if self.specialist(task)]
        if any(self.kept(task) is None for task in own):
            return (
                "These results were made before attempts were stored, so there is no interval of "
                "what was kept: remove the phase's folder to measure again."
            )
        near = [self._near(model, own) for model in self.judged]
        gates = [self._gate(task) for task in own if "gate" in self.results[self.last][task]]
        return f"{'; '.join([*near, self._better(), *gates])}."

    def _gate(self, task: str) -> str:
        gate = self.results[self.last][task]["gate"]
        kept = Difference(**gate["above"][self.specialist(task)])
        told = f"the gate of {task} ({gate['part']} {gate['mean']:.3f}, {kept} points)"
        if kept.high < -CLOSE / 100:
            return f"{self.last} has left {told}"
        if kept.low < -CLOSE / 100:
            return f"whether {self.last} keeps {told} cannot be told"
        return f"{self.last} keeps {told}"

    def _near(self, model: str, own: Sequence[str]) -> str:
        points = {task: kept for task in own if (kept := self.kept(task, model))}
        lost = [task for task, kept in points.items() if kept.high < -CLOSE / 100]
        doubtful = [
            _doubt(task, kept, -CLOSE / 100)
            for task, kept in points.items()
            if kept.low < -CLOSE / 100 <= kept.high
        ]
        if lost:
            said = f"{model} is more than {CLOSE:g} points below the specialist on "
            said += ", ".join(lost)
        elif doubtful:
            return (
                f"whether {model} is within {CLOSE:g} points of the specialist cannot be told "
                f"on {', '.join(doubtful)}"
            )
        else:
            return f"{model} is within {CLOSE:g} points of every specialist on its own task"
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
    made = {phase.name for phase in phases if phase.kind == "consolidate"} | {models[-1]}
    return Table(
        tasks=tasks,
        models=models,
        results=results,
        first=models[0],
        last=models[-1],
        judged=tuple(name for name in models if name in made),
    )
