"""Figures of one entry: pass rate, reward, parts, lengths; each with an interval over tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from munro.evaluation.statistics import Estimate, mean_of, pass_at_1
from munro.evaluation.types import AttemptRow

PASS_RATE = "pass_rate"
REWARD = "reward"
NUM_TOKENS = "num_tokens"
TRUNCATED = "truncated"


def figures(rows: Sequence[AttemptRow]) -> dict[str, Estimate]:
    """All figures of one entry's attempts."""
    scored = [row for row in rows if not row.failed]
    if not scored:
        return {}
    found = {PASS_RATE: pass_rate(rows)}
    found[REWARD] = estimate(scored, lambda row: row.reward, rate=False)
    found[NUM_TOKENS] = estimate(scored, lambda row: float(row.num_tokens), rate=False)
    found[TRUNCATED] = estimate(scored, lambda row: float(row.ending.startswith("truncated")))
    for name in dict.fromkeys(name for row in scored for name in row.parts):
        having = [row for row in scored if name in row.parts]
        found[name] = estimate(having, lambda row, name=name: row.parts[name])  # type: ignore[misc]
    return found


def pass_rate(rows: Sequence[AttemptRow]) -> Estimate:
    """Pass rate of the attempts that were scored; of the others the interval allows either."""
    scored = [row for row in rows if not row.failed]
    found = estimate(scored, lambda row: float(row.passed))
    if len(scored) == len(rows):
        return found
    worst = estimate(rows, lambda row: float(row.passed and not row.failed))
    best = estimate(rows, lambda row: float(row.passed or bool(row.failed)))
    return Estimate(mean=found.mean, low=min(worst.low, found.low), high=max(best.high, found.high))


def estimate(
    rows: Sequence[AttemptRow], value: Callable[[AttemptRow], float], *, rate: bool = True
) -> Estimate:
    """Mean over tasks of a figure of their attempts, each task counting as much as another.

    Args:
        rows: at least one.
        value: of an attempt.
        rate: where every value is 0 or 1, the interval is that of a rate.
    """
    by_task: dict[str, list[float]] = defaultdict(list)
    cluster: dict[str, str] = {}
    for row in rows:
        by_task[row.task].append(value(row))
        cluster[row.task] = row.cluster or row.task
    clusters_N = [cluster[task] for task in by_task]
    value_NR = table(list(by_task.values()))
    is_rate = rate and bool(np.isin(value_NR, (0, 1)).all())
    return (pass_at_1 if is_rate else mean_of)(value_NR, clusters_N)


def table(values: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """[N, R]; where tasks have unequally many values, [N, 1] of their means."""
    if len({len(of) for of in values}) > 1:
        return np.array([[float(np.mean(of))] for of in values])
    return np.array(values, dtype=np.float64)
