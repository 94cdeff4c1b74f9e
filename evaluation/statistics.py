"""What an evaluation says, and how far to trust it.

Shape letters: N = tasks, R = runs, i.e. attempts at each task; C = clusters of tasks.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

PRIOR = 0.5
"""Tasks' worth of doubt about how different tasks are; see `effective_size`."""
LARGE = 10_000
"""Degrees of freedom at which Student's t is as good as normal."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Estimate):
    """A mean of differences, its interval, and how often chance alone would give as much.

    Example:
        Difference(mean=0.03, low=0.01, high=0.05, p=0.004)
    """

    p: float
    """Two-sided; under 1 - confidence just where the interval leaves 0 out."""

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}], p = {self.p:.2g}"


def pass_at_1(
    passed_NR: ArrayLike,
    clusters_N: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
) -> Estimate:
    """Mean pass rate over tasks and runs, with Wilson's interval at the effective sample size.

    Attempts at one task resemble each other, so treating them as independent would make the
    interval too narrow (Miller 2024, "Adding Error Bars to Evals"); and near 0 and 1 the spread
    between tasks that was seen says too little of the one that was not, so resampling them does
    too. The interval is about other tasks of the same kind: of one task alone it says nothing.

    Args:
        passed_NR: [N, R] verdicts, 0 or 1. The report's default is R = 4 (section 4).
        clusters_N: which cluster each task is of, where some resemble each other: the interval is
            then about other clusters.
        confidence: how often such an interval holds the truth.

    Raises:
        ValueError: not a table of verdicts, or an argument out of range.
    """
    verdict_NR = _verdicts(passed_NR)
    _check_confidence(confidence)
    index_N = _clusters(clusters_N, len(verdict_NR))
    num_clusters = int(index_N.max()) + 1
    mean = float(verdict_NR.mean())
    if num_clusters == 1:
        return Estimate(mean=mean, low=0.0, high=1.0)
    size = effective_size(verdict_NR, index_N)
    low, high = wilson(mean, size, t_quantile(confidence, num_clusters - 1))
    return Estimate(mean=mean, low=low, high=high)


def effective_size(
    verdict_NR: NDArray[np.float64], index_N: NDArray[np.intp] | None = None
) -> float:
    """Independent attempts that say as much as these: N where tasks decide all, N R where none.

    p (1 - p) / (s^2 / N), with s^2 the variance between the tasks' rates. Near 0 and 1 few tasks
    show that they differ, and where none happened to, s^2 says nothing. So it is drawn towards its
    largest value, p (1 - p), with the weight of half a task against those that had a rarer outcome.
    Of clusters the same is true, with Kish's number of them in the place of N.

    Args:
        verdict_NR: [N, R] verdicts, 0 or 1, with N > 1.
        index_N: number of each task's cluster, from 0; each its own unless given.
    """
    num_tasks, num_runs = verdict_NR.shape
    index_N = np.arange(num_tasks) if index_N is None else index_N
    size_C = np.bincount(index_N)
    rate_C = np.bincount(index_N, weights=verdict_NR.mean(axis=1)) / size_C
    kish = float(num_tasks**2 / (size_C**2).sum())
    mean = float(verdict_NR.mean())
    most = mean * (1 - mean)
    if most == 0:
        return kish
    telling = min(int((rate_C < 1).sum()), int((rate_C > 0).sum()))
    between = kish * _squared_error(verdict_NR.mean(axis=1), index_N)
    between = (telling * between + PRIOR * most) / (telling + PRIOR)
    return float(np.clip(most / (between / kish), kish, num_tasks * num_runs))


def mean_of(
    values_NR: ArrayLike,
    clusters_N: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
) -> Estimate:
    """Mean over tasks and runs of any figure, with Student's interval over tasks, or clusters.

    Of one task, or one cluster, alone the interval is endless.

    Args:
        values_NR: [N, R] figures. Of verdicts take `pass_at_1`.
        clusters_N: which cluster each task is of.
        confidence: how often such an interval holds the truth.

    Raises:
        ValueError: not a table of finite numbers, or an argument out of range.
    """
    value_N = _values(values_NR).mean(axis=1)
    _check_confidence(confidence)
    index_N = _clusters(clusters_N, len(value_N))
    mean, degrees = float(value_N.mean()), int(index_N.max())
    if not degrees:
        return Estimate(mean=mean, low=-math.inf, high=math.inf)
    half = t_quantile(confidence, degrees) * math.sqrt(_squared_error(value_N, index_N))
    return Estimate(mean=mean, low=mean - half, high=mean + half)


def paired(
    a_NR: ArrayLike,
    b_NR: ArrayLike,
    clusters_N: Sequence[Hashable] | None = None,
    *,
    weights_N: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Difference:
    """B minus A on the same tasks: what tasks have in common falls out of the comparison.

    Student's interval over the tasks' differences. Of verdicts, two tasks are added in thought, one
    that A alone passed and one that B alone did (Bonett and Price 2012): a handful of tasks on
    which both agree does not prove that they always do.

    Args:
        a_NR: [N, R] verdicts or figures of A.
        b_NR: [N, R'] of B, on the same tasks in the same order.
        clusters_N: which cluster each task is of.
        weights_N: what each task counts, at least 0; all alike unless given. Chosen by looking at
            the verdicts, they must treat A and B alike, or the comparison is biased.
        confidence: how often such an interval holds the truth.

    Raises:
        ValueError: not tables of finite numbers over the same tasks, or an argument out of range.
    """
    a_NR, b_NR = _values(a_NR), _values(b_NR)
    _check_confidence(confidence)
    if len(a_NR) != len(b_NR):
        raise ValueError(f"{len(a_NR)} tasks against {len(b_NR)}: pair the same ones.")
    weight_N = np.ones(len(a_NR)) if weights_N is None else _weights(weights_N, len(a_NR))
    counts = weight_N > 0
    if clusters_N is not None:
        clusters_N = [name for name, counted in zip(clusters_N, counts, strict=True) if counted]
    index_N = _clusters(clusters_N, int(counts.sum()))
    weight_N = weight_N[counts]
    difference_N = (b_NR.mean(axis=1) - a_NR.mean(axis=1))[counts]
    is_rate = bool(np.isin(a_NR, (0, 1)).all() and np.isin(b_NR, (0, 1)).all())
    return _difference(difference_N, index_N, weight_N, confidence, is_rate=is_rate)


def _difference(
    difference_N: NDArray[np.float64],
    index_N: NDArray[np.intp],
    weight_N: NDArray[np.float64],
    confidence: float,
    *,
    is_rate: bool,
) -> Difference:
    mean = float(np.average(difference_N, weights=weight_N))
    num_clusters = int(index_N.max()) + 1
    if num_clusters == 1:
        most = 1.0 if is_rate else math.inf
        return Difference(mean=mean, low=-most, high=most, p=1.0)
    if is_rate:
        difference_N = np.append(difference_N, (1.0, -1.0))
        index_N = np.append(index_N, (num_clusters, num_clusters + 1))
        weight_N = np.append(weight_N, [weight_N.mean()] * 2)
    middle = float(np.average(difference_N, weights=weight_N))
    error = math.sqrt(_squared_error(difference_N, index_N, weight_N))
    half = t_quantile(confidence, num_clusters - 1) * error
    low, high = middle - half, middle + half
    if is_rate:
        low, high = max(min(low, mean), -1.0), min(max(high, mean), 1.0)
    p = t_outside(middle / error, num_clusters - 1) if error else float(middle == 0)
    return Difference(mean=mean, low=low, high=high, p=p)


def tasks_to_decide(
    found: Estimate, bound: float, num_tasks: int, *, confidence: float = 0.95, power: float = 0.8
) -> int | None:
    """About how many tasks put the interval on one side of the bound in `power` of such tries.

    As if `found.mean` were the truth and further tasks were like these.

    Args:
        found: which says on neither side, or it would be no question.
        bound: in question.
        num_tasks: that `found` is over.
        confidence: of the interval.
        power: how often they shall decide.

    Returns:
        More than `num_tasks`; None where the mean is the bound itself, or nothing is known of the
        spread: no number of tasks is sure to decide.
    """
    distance = abs(found.mean - bound)
    half = found.mean - found.low if bound < found.mean else found.high - found.mean
    if not distance or not math.isfinite(half):
        return None
    # from the few degrees of freedom here to as good as endless ones there
    quantile = t_quantile(confidence, LARGE)
    half *= quantile / t_quantile(confidence, max(num_tasks - 1, 1))
    more = 1 + t_quantile(2 * power - 1, LARGE) / quantile
    return max(num_tasks + 1, math.ceil(num_tasks * (more * half / distance) ** 2))


def holm(ps: Sequence[float]) -> list[float]:
    """P-values of several comparisons, each as if it were the only one (Holm 1979).

    Example:
        holm([0.01, 0.04, 0.03])  # [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(ps)), key=ps.__getitem__)
    found, most = [1.0] * len(ps), 0.0
    for rank, place in enumerate(order):
        most = max(most, min(1.0, (len(ps) - rank) * ps[place]))
        found[place] = most
    return found


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


def t_outside(t: float, degrees: int) -> float:
    """P(|T| > |t|) of Student's T: the two-sided p-value."""
    return min(1.0, max(0.0, 1.0 - _t_within(math.atan(abs(t) / math.sqrt(degrees)), degrees)))


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


def _squared_error(
    value_N: NDArray[np.float64],
    index_N: NDArray[np.intp],
    weight_N: NDArray[np.float64] | None = None,
) -> float:
    """Squared standard error of the weighted mean over clusters (Liang and Zeger 1986)."""
    weight_N = np.ones(len(value_N)) if weight_N is None else weight_N
    off_N = weight_N * (value_N - np.average(value_N, weights=weight_N))
    off_C = np.bincount(index_N, weights=off_N)
    num_clusters = len(off_C)
    return float(num_clusters / (num_clusters - 1) * (off_C**2).sum() / weight_N.sum() ** 2)


def _clusters(clusters_N: Sequence[Hashable] | None, num_tasks: int) -> NDArray[np.intp]:
    """Numbers of the tasks' clusters, from 0; each task its own where none are given."""
    if clusters_N is None:
        return np.arange(num_tasks)
    if len(clusters_N) != num_tasks:
        raise ValueError(f"{len(clusters_N)} clusters of {num_tasks} tasks: name one for each.")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in clusters_N])


def _weights(weights_N: ArrayLike, num_tasks: int) -> NDArray[np.float64]:
    weight_N = np.asarray(weights_N, dtype=np.float64)
    if weight_N.shape != (num_tasks,) or not np.isfinite(weight_N).all() or (weight_N < 0).any():
        raise ValueError(f"give {num_tasks} tasks as many weights, none under 0.")
    if not weight_N.any():
        raise ValueError("all weights are 0: no task counts.")
    return weight_N


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: give a share between 0 and 1.")


def _values(values_NR: ArrayLike) -> NDArray[np.float64]:
    value_NR = np.asarray(values_NR, dtype=np.float64)
    if value_NR.ndim != 2 or value_NR.size == 0:
        raise ValueError(f"figures have shape {value_NR.shape}: give tasks x attempts.")
    if not np.isfinite(value_NR).all():
        raise ValueError("a figure is not finite.")
    return value_NR


def _verdicts(passed_NR: ArrayLike) -> NDArray[np.float64]:
    verdict_NR = np.asarray(passed_NR, dtype=np.float64)
    if verdict_NR.ndim != 2 or verdict_NR.size == 0:
        raise ValueError(f"verdicts have shape {verdict_NR.shape}: give tasks x attempts.")
    if not np.isin(verdict_NR, (0, 1)).all():
        raise ValueError("a verdict is neither 0 nor 1.")
    return verdict_NR
