"""Figures of one entry: pass rate, reward, parts, lengths; each with an interval over tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from munro.evaluation.parts import value_of, values_of
from munro.evaluation.statistics import Estimate, mean_of, pass_at_1
from munro.evaluation.types import AttemptRow

PASS_RATE = "pass_rate"
OF_ATTEMPTS: Mapping[str, Callable[[AttemptRow], float]] = {
    PASS_RATE: lambda row: float(row.passed),
    "reward": lambda row: row.reward,
    "num_tokens": lambda row: float(row.num_tokens),
    "truncated": lambda row: float(row.ending.startswith("truncated")),
}
"""What every attempt has, beside the parts of its grade."""
RATES = (PASS_RATE, "truncated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One figure of an entry's scored attempts, task by task."""

    tasks: tuple[str, ...]
    values: NDArray[np.float64]
    """[N, R]; where tasks have unequally many attempts, [N, 1] of their means."""
    clusters: tuple[str, ...]
    """Of each task; its own name where it stands for itself."""

    def estimate(self, *, is_rate: bool | None = None, confidence: float = 0.95) -> Estimate:
        """The mean over tasks; of verdicts (0 or 1, unless said otherwise) a rate's interval."""
        if is_rate is None:
            is_rate = bool(np.isin(self.values, (0, 1)).all())
        how = pass_at_1 if is_rate else mean_of
        return how(self.values, self.clusters, confidence=confidence)


def table(rows: Sequence[AttemptRow], value: Callable[[AttemptRow], float]) -> Table:
    """A figure of attempts, by task in the order of their names."""
    by_task: dict[str, list[float]] = defaultdict(list)
    cluster: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: (row.task, row.run)):
        by_task[row.task].append(value(row))
        cluster[row.task] = row.cluster or row.task
    lists = list(by_task.values())
    if len({len(of) for of in lists}) > 1:
        lists = [[float(np.mean(of))] for of in lists]
    return Table(
        tasks=tuple(by_task),
        values=np.array(lists, dtype=np.float64),
        clusters=tuple(cluster.values()),
    )


def names(rows: Sequence[AttemptRow]) -> list[str]:
    """Figures that have a value for each scored attempt, or for some of them."""
    parts = dict.fromkeys(name for row in rows if not row.failed for name in values_of(row))
    return [*OF_ATTEMPTS, *(name for name in parts if name not in OF_ATTEMPTS)]


def table_of(rows: Sequence[AttemptRow], figure: str) -> Table:
    """A figure by its name, over the scored attempts that have it.

    Raises:
        KeyError: none has.
    """
    scored = [row for row in rows if not row.failed]
    if figure in OF_ATTEMPTS and scored:
        return table(scored, OF_ATTEMPTS[figure])
    values = {(row.task, row.run): value_of(row, figure) for row in scored}
    found = {key: value for key, value in values.items() if value is not None}
    if not found:
        raise KeyError(figure)
    having = [row for row in scored if (row.task, row.run) in found]
    return table(having, lambda row: found[row.task, row.run])


def figures(rows: Sequence[AttemptRow]) -> dict[str, Estimate]:
    """All figures of one entry's attempts."""
    if all(row.failed for row in rows):
        return {}
    found = {}
    for name in names(rows):
        # a reward of 1 or 0 each time is one all the same
        is_rate = False if name in OF_ATTEMPTS and name not in RATES else None
        found[name] = table_of(rows, name).estimate(is_rate=is_rate)
    found[PASS_RATE] = pass_rate(rows)
    return found


def pass_rate(rows: Sequence[AttemptRow], *, confidence: float = 0.95) -> Estimate:
    """Pass rate of the attempts that were scored; of the others the interval allows either."""
    scored = [row for row in rows if not row.failed]
    found = table_of(scored, PASS_RATE).estimate(confidence=confidence)
    if len(scored) == len(rows):
        return found
    worst = table(rows, lambda row: float(row.passed and not row.failed))
    best = table(rows, lambda row: float(row.passed or bool(row.failed)))
    low, high = (one.estimate(confidence=confidence) for one in (worst, best))
    return Estimate(mean=found.mean, low=min(low.low, found.low), high=max(high.high, found.high))
