"""What an evaluation says, and how far to trust it.

Shape letters: N = tasks, R = runs, i.e. attempts at each task.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CHUNK = 2_000_000
"""Drawn task indices that exist at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean and the interval that holds it.

    Example:
        Estimate(mean=0.5, low=0.4, high=0.6)
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def pass_at_1(
    passed_NR: ArrayLike, *, confidence: float = 0.95, num_resamples: int = 10_000, seed: int = 0
) -> Estimate:
    """Mean pass rate over tasks and runs, with a percentile bootstrap interval.

    Whole tasks are drawn with replacement, each with all its runs: attempts at one task resemble
    each other, so treating them as independent would make the interval too narrow (Miller 2024,
    "Adding Error Bars to Evals"). The interval is about other tasks of the same kind.

    Args:
        passed_NR: [N, R] verdicts, 0 or 1. The report's default is R = 4 (section 4).
        confidence: share of resampled means inside the interval.
        num_resamples: bootstrap draws.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        ValueError: not a table of verdicts, or an argument out of range.
    """
    verdict_NR = _verdicts(passed_NR)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: give a share between 0 and 1.")
    if num_resamples < 1:
        raise ValueError(f"num_resamples = {num_resamples}: give at least 1.")
    rate_N = verdict_NR.mean(axis=1)
    num_tasks = len(rate_N)
    rng = np.random.default_rng(seed)
    means: list[NDArray[np.float64]] = []
    left = num_resamples
    while left > 0:
        rows = min(left, max(1, CHUNK // num_tasks))
        means.append(rate_N[rng.integers(num_tasks, size=(rows, num_tasks))].mean(axis=1))
        left -= rows
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Estimate(mean=float(rate_N.mean()), low=float(low), high=float(high))


def pass_at_k(passed_NR: ArrayLike, k: int) -> float:
    """Chance that at least one of k attempts at a task passes, averaged over tasks.

    The unbiased estimator of Chen et al. 2021 (2107.03374): of the R attempts at a task c passed,
    so k drawn without replacement all fail with probability C(R - c, k) / C(R, k).

    Args:
        passed_NR: [N, R] verdicts, 0 or 1.
        k: attempts allowed; at most R.

    Raises:
        ValueError: not a table of verdicts, or k not in [1, R].
    """
    verdict_NR = _verdicts(passed_NR)
    num_runs = verdict_NR.shape[1]
    if not 1 <= k <= num_runs:
        raise ValueError(f"k = {k}: with {num_runs} attempts a task, give 1 to {num_runs}.")
    failed_N = num_runs - verdict_NR.sum(axis=1)
    # C(failed, k) / C(R, k) as a product of k factors, so that no binomial overflows
    drawn = np.arange(k)
    factor_Nk = np.clip(failed_N[:, None] - drawn, 0, None) / (num_runs - drawn)
    return float(1 - factor_Nk.prod(axis=1).mean())


def _verdicts(passed_NR: ArrayLike) -> NDArray[np.float64]:
    verdict_NR = np.asarray(passed_NR, dtype=np.float64)
    if verdict_NR.ndim != 2 or verdict_NR.size == 0:
        raise ValueError(f"verdicts have shape {verdict_NR.shape}: give tasks x attempts.")
    if not np.isin(verdict_NR, (0, 1)).all():
        raise ValueError("a verdict is neither 0 nor 1.")
    return verdict_NR
