"""How much better B is, how much the left side is worth, and how far to trust either.

score = preference + left * side + error        side: 1 where B was on the left, else -1

Sides are balanced, so the two hardly mix; where ratings are missing, fitting both keeps them apart.
Ratings of one task resemble each other, and so do ratings of one rater: the interval counts both
(Cameron, Gelbach and Miller 2011; what a single rating adds to both is not taken off again), with
as many degrees of freedom as the clusters give (Satterthwaite), so it is about other tasks and
other raters. Three raters may happen to look alike, so their part counts twice in the degrees.
Every task counts the same, whoever rated it; tasks with equal answers are ties that nobody was
asked about.

Shape letters: I = ratings, K = coefficients, C = clusters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from munro.evaluation.sides.ratings import Rating
from munro.evaluation.statistics import Estimate, t_quantile

Array = NDArray[np.float64]
ITERATIONS = 60
RIDGE = 1e-6
"""Of the logistic fit: keeps it finite where length alone decides."""
MOST_COEFFICIENT = 15.0
"""Log odds beyond which a fit has run away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Ratings as columns."""

    side: Array
    """[I] 1 where B was on the left, -1 where A was, 0 where nobody was asked."""
    weight: Array
    """[I] So that each task weighs one."""
    task: NDArray[np.intp]
    """[I] Numbers from 0."""
    rater: NDArray[np.intp]
    """[I] Numbers from 0, -1 where nobody was asked."""

    @property
    def num_raters(self) -> int:
        return len(np.unique(self.rater[self.rater >= 0]))


def sample_of(ratings: Sequence[Rating], num_equal: int = 0) -> Sample:
    """Ratings, and behind them a row for each task whose answers are equal."""
    task_I, rater_I = (_numbered([f(one) for one in ratings]) for f in (_pair, _rater))
    count_C = np.bincount(task_I)
    equal = np.arange(num_equal)
    return Sample(
        side=np.append([1.0 if one.b_left else -1.0 for one in ratings], np.zeros(num_equal)),
        weight=np.append(1 / count_C[task_I], np.ones(num_equal)),
        task=np.append(task_I, len(count_C) + equal).astype(np.intp),
        rater=np.append(rater_I, np.full(num_equal, -1)).astype(np.intp),
    )


def fitted(
    value_I: Array, sample: Sample, *, confidence: float = 0.95
) -> tuple[Estimate, Estimate]:
    """The mean of a value free of the sides, and what the left side adds to it, with intervals.

    Args:
        value_I: [I] of each row of the sample, how much it speaks for B.
        sample: of at least one rating.
        confidence: how often such an interval holds the truth.
    """
    x_IK = np.stack([np.ones(len(value_I)), sample.side], axis=1)
    if np.ptp(sample.side) == 0:
        x_IK = x_IK[:, :1]
    weight_I = sample.weight
    bread: Array = np.linalg.inv((x_IK * weight_I[:, None]).T @ x_IK).astype(np.float64)
    found_K = bread @ (x_IK * (weight_I * value_I)[:, None]).sum(axis=0)
    score_IK = (weight_I * (value_I - x_IK @ found_K))[:, None] * x_IK
    estimates = _estimates(found_K, bread, score_IK, sample, confidence)
    if len(estimates) == 1:
        estimates.append(Estimate(mean=0.0, low=-math.inf, high=math.inf))
    return estimates[0], estimates[1]


def per_doubling(
    is_b_I: Array, doublings_I: Array, sample: Sample, *, confidence: float = 0.95
) -> Estimate | None:
    """By what the odds of being preferred are multiplied for an answer twice as long.

    A logistic fit on the difference of lengths and the side; None where it cannot be told, as where
    length alone decides or never differs.

    Args:
        is_b_I: [I] 1 where B was preferred, 0 where A was; ties are not in the sample.
        doublings_I: [I] log2 of B's length over A's.
        sample: of these ratings.
        confidence: how often such an interval holds the truth.
    """
    if len(is_b_I) < 4 or np.ptp(is_b_I) == 0 or np.ptp(doublings_I) == 0:
        return None
    x_IK = np.stack([np.ones(len(is_b_I)), sample.side, doublings_I], axis=1)
    found_K = np.zeros(3)
    for _ in range(ITERATIONS):
        rate_I = 1 / (1 + np.exp(-np.clip(x_IK @ found_K, -30, 30)))
        slope_I = sample.weight * rate_I * (1 - rate_I)
        hessian = (x_IK * slope_I[:, None]).T @ x_IK + RIDGE * np.eye(3)
        score_IK = (sample.weight * (is_b_I - rate_I))[:, None] * x_IK
        step_K = np.linalg.solve(hessian, score_IK.sum(axis=0) - RIDGE * found_K)
        found_K = found_K + step_K
        if np.abs(step_K).max() < 1e-9:
            break
    if np.abs(found_K).max() > MOST_COEFFICIENT:
        return None
    bread: Array = np.linalg.inv(hessian).astype(np.float64)
    one = _estimates(found_K, bread, score_IK, sample, confidence)[2]
    ends = [math.exp(min(end, 700)) for end in (one.mean, one.low, one.high)]
    return Estimate(mean=ends[0], low=ends[1], high=ends[2])


def _estimates(
    found_K: Array, bread: Array, score_IK: Array, sample: Sample, confidence: float
) -> list[Estimate]:
    """Each coefficient with its two-way interval."""
    num_raters, num_tasks = sample.num_raters, int(sample.task.max()) + 1
    asked = sample.rater >= 0
    # who was asked by nobody is a cluster of their own
    rater_I = sample.rater.copy()
    rater_I[~asked] = max(num_raters, 1) + np.arange((~asked).sum())
    by_task = _spread(bread, score_IK, sample.task)
    by_rater = _spread(bread, score_IK, rater_I)
    estimates = []
    for mean, task, rater in zip(found_K, by_task, by_rater, strict=True):
        if num_raters < 2 or num_tasks < 2:
            estimates.append(Estimate(mean=float(mean), low=-math.inf, high=math.inf))
            continue
        task = task * num_tasks / (num_tasks - 1)
        rater = rater * num_raters / (num_raters - 1)
        total, twice = task + rater, 2 * rater
        parts = task**2 / (num_tasks - 1) + twice**2 / (num_raters - 1)
        degrees = (task + twice) ** 2 / (parts + 1e-300)
        least = min(num_tasks, num_raters) - 1
        half = t_quantile(confidence, max(int(degrees), least)) * math.sqrt(total)
        estimates.append(
            Estimate(mean=float(mean), low=float(mean - half), high=float(mean + half))
        )
    return estimates


def _spread(bread: Array, score_IK: Array, cluster_I: NDArray[np.intp]) -> Array:
    """Variance of each coefficient by clusters, [K], before any correction for their number."""
    sums_CK = np.zeros((int(cluster_I.max()) + 1, score_IK.shape[1]))
    np.add.at(sums_CK, cluster_I, score_IK)
    spread: Array = ((sums_CK @ bread) ** 2).sum(axis=0)
    return spread


def _numbered(names: Sequence[Hashable]) -> NDArray[np.intp]:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.intp)


def _pair(one: Rating) -> Hashable:
    return one.pair


def _rater(one: Rating) -> Hashable:
    return one.rater


def column(ratings: Sequence[Rating], value: Callable[[Rating], float], num_equal: int) -> Array:
    """A value of each rating, and 0 for each task whose answers are equal."""
    return np.append([value(one) for one in ratings], np.zeros(num_equal))
