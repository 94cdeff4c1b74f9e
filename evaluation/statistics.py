"""What an evaluation says, and how far to trust it.

Shape letters: N = tasks, R = runs, i.e. attempts at each task.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

PRIOR = 0.5
"""Tasks' worth of doubt about how different tasks are; see `effective_size`."""
HALVINGS = 60
"""Of the bracket around a quantile: beyond them it is as narrow as a float can say."""


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


def pass_at_1(passed_NR: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Mean pass rate over tasks and runs, with Wilson's interval at the effective sample size.

    Attempts at one task resemble each other, so treating them as independent would make the
    interval too narrow (Miller 2024, "Adding Error Bars to Evals"); and near 0 and 1 the spread
    between tasks that was seen says too little of the one that was not, so resampling them does
    too. The interval is about other tasks of the same kind: of one task alone it says nothing.

    Args:
        passed_NR: [N, R] verdicts, 0 or 1. The report's default is R = 4 (section 4).
        confidence: how often such an interval holds the truth.

    Raises:
        ValueError: not a table of verdicts, or an argument out of range.
    """
    verdict_NR = _verdicts(passed_NR)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: give a share between 0 and 1.")
    num_tasks = len(verdict_NR)
    mean = float(verdict_NR.mean())
    if num_tasks == 1:
        return Estimate(mean=mean, low=0.0, high=1.0)
    low, high = wilson(mean, effective_size(verdict_NR), t_quantile(confidence, num_tasks - 1))
    return Estimate(mean=mean, low=low, high=high)


def effective_size(verdict_NR: NDArray[np.float64]) -> float:
    """Independent attempts that say as much as these: N where tasks decide all, N R where none.

    p (1 - p) / (s^2 / N), with s^2 the variance between the tasks' rates. Near 0 and 1 few tasks
    show that they differ, and where none happened to, s^2 says nothing. So it is drawn towards its
    largest value, p (1 - p), with the weight of half a task against those that had a rarer outcome.

    Args:
        verdict_NR: [N, R] verdicts, 0 or 1, with N > 1.
    """
    num_tasks, num_runs = verdict_NR.shape
    rate_N = verdict_NR.mean(axis=1)
    mean = float(rate_N.mean())
    most = mean * (1 - mean)
    if most == 0:
        return float(num_tasks)
    telling = min(int((rate_N < 1).sum()), int((rate_N > 0).sum()))
    between = (telling * float(rate_N.var(ddof=1)) + PRIOR * most) / (telling + PRIOR)
    return float(np.clip(most / (between / num_tasks), num_tasks, num_tasks * num_runs))


def wilson(rate: float, size: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval of a rate seen in `size` independent tries.

    Example:
        wilson(1.0, 3, 4.303)  # (0.139, 1.0)
    """
    squared = quantile * quantile / size
    middle = (rate + squared / 2) / (1 + squared)
    half = math.sqrt(squared * rate * (1 - rate) + squared * squared / 4) / (1 + squared)
    # rounding must not leave the rate itself outside
    return max(min(middle - half, rate), 0.0), min(max(middle + half, rate), 1.0)


@lru_cache(maxsize=1024)
def t_quantile(confidence: float, degrees: int) -> float:
    """How many standard errors hold `confidence` of Student's t, half on either side.

    Args:
        confidence: in (0, 1).
        degrees: of freedom, at least 1.

    Example:
        t_quantile(0.95, 2)  # 4.303
    """
    low, high = 0.0, math.pi / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _t_within(middle, degrees) < confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _t_within(angle: float, degrees: int) -> float:
    """P(|t| <= sqrt(degrees) tan(angle)): a finite series for whole degrees of freedom.

    Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    cosine = math.cos(angle)
    is_odd = degrees % 2
    # 1, 1/2, 1/2 * 3/4, ... for even degrees; 1, 2/3, 2/3 * 4/5, ... for odd ones
    step = np.arange(1, (degrees - is_odd) // 2)
    factor = (2 * step - 1 + is_odd) / (2 * step + is_odd) * cosine**2
    total = 1.0 + float(np.cumprod(factor).sum())
    if not is_odd:
        return math.sin(angle) * total
    series = math.sin(angle) * cosine * total if degrees > 1 else 0.0
    return 2 / math.pi * (angle + series)


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
