"""How far raters agree beyond chance: Krippendorff's alpha, Cohen's kappa, and their intervals.

1 is perfect agreement, 0 what chance would give, and less is worse than chance. Any number of
raters, any of whom may have left something out. Krippendorff, "Computing Krippendorff's
Alpha-Reliability" (2011).

Shape letters: R = raters, N = units (what was rated), V = values that occur, B = resamples,
C = clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from munro.evaluation.statistics import Estimate, t_quantile, wilson

Level = Literal["nominal", "ordinal", "interval"]
"""What a difference between two values means: other, so many ranks apart, or so far apart."""
RESAMPLES = 2000
FEWEST_UNITS = 2
Array = NDArray[np.float64]


def alpha(ratings_RN: ArrayLike, level: Level = "nominal") -> float:
    """Krippendorff's alpha.

    Args:
        ratings_RN: [R, N] values; NaN where a rater said nothing.
        level: "nominal", "ordinal" or "interval".

    Raises:
        ValueError: no such level, no table, fewer than two units that two raters rated, or
            everybody always gave the same value, which leaves nothing to agree about.

    Example:
        alpha([[0, 1, 1, 0], [0, 1, 0, 0]])  # 0.533
    """
    count_NV, value_V = _counted(ratings_RN, level)
    (found,) = _alphas(count_NV, value_V, np.ones((1, len(count_NV))), level)
    if np.isnan(found):
        raise ValueError("all ratings are the same: there is nothing to agree about.")
    return float(found)


def alpha_interval(
    ratings_RN: ArrayLike,
    level: Level = "nominal",
    clusters_N: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Alpha, and the interval that resampling the units gives it.

    Of few units or clusters the quantiles of the resamples say too little: the interval is at least
    as wide as Student's. Where nobody disagreed at all, resampling would say [1, 1]. Alpha is 1
    less the share of units that were rated as by chance, of which only some would show: its low end
    is then 1 less the most disagreement that Wilson's interval allows for none seen, over chance's.

    Args:
        ratings_RN: as `alpha`.
        level: as `alpha`.
        clusters_N: which cluster each unit is of (responses to one question, say): whole clusters
            are drawn.
        confidence: how often such an interval holds the truth.
        resamples: how many to draw.
        seed: of the draws.

    Raises:
        ValueError: as `alpha`.
    """
    mean = alpha(ratings_RN, level)
    count_NV, value_V = _counted(ratings_RN, level)
    index_N = _clusters(ratings_RN, clusters_N)
    return _interval(
        mean,
        lambda weight_BN: _alphas(count_NV, value_V, weight_BN, level),
        count_NV,
        index_N,
        confidence,
        resamples,
        seed,
    )


def kappa_interval(
    ours_N: ArrayLike,
    theirs_N: ArrayLike,
    level: Level = "nominal",
    clusters_N: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Cohen's kappa of two raters and its interval: does the one say anything about the other?

    Chance is here what two raters with these habits would agree on without looking, so kappa is
    above 0 just where they go together at all. Alpha counts different habits as disagreement too: a
    judge who sees every third refusal and invents none is below 0 by alpha, and above by kappa.
    Squared differences weigh, of ranks or of values, where the level is ordinal or interval.

    Args:
        ours_N: [N] values; NaN where one said nothing.
        theirs_N: [N] the other's.
        level: as `alpha`.
        clusters_N: as `alpha_interval`.
        confidence: how often such an interval holds the truth.
        resamples: how many to draw.
        seed: of the draws.

    Raises:
        ValueError: as `alpha`, or one of them always gave the same value.
    """
    rating_2N = np.stack([np.asarray(ours_N, np.float64), np.asarray(theirs_N, np.float64)])
    count_NV, value_V = _counted(rating_2N, level)
    index_N = _clusters(rating_2N, clusters_N)
    rating_2N = rating_2N[:, ~np.isnan(rating_2N).any(axis=0)]
    for each_N in rating_2N:
        if len(np.unique(each_N)) == 1:
            raise ValueError(f"one of the two always says {each_N[0]:g}: it tells nothing.")
    if level == "ordinal":
        total_V = count_NV.sum(axis=0)
        rank_V = total_V.cumsum() - total_V / 2
        rating_2N = rank_V[np.searchsorted(value_V, rating_2N)]
    (mean,) = _kappas(rating_2N, np.ones((1, len(index_N))), level)
    return _interval(
        float(mean),
        lambda weight_BN: _kappas(rating_2N, weight_BN, level),
        count_NV,
        index_N,
        confidence,
        resamples,
        seed,
    )


def _kappas(rating_2N: Array, weight_BN: Array, level: str) -> Array:
    """Kappa of each weighting of the units, [B]; NaN where chance alone would always agree."""
    share_BN = weight_BN / weight_BN.sum(axis=1, keepdims=True)
    ours_N, theirs_N = rating_2N
    if level == "nominal":
        value_V = np.unique(rating_2N)
        observed_B = share_BN @ (ours_N != theirs_N)
        one_BV, other_BV = (share_BN @ (each_N[:, None] == value_V) for each_N in rating_2N)
        expected_B = 1 - (one_BV * other_BV).sum(axis=1)
    else:
        observed_B = share_BN @ (ours_N - theirs_N) ** 2
        squares_B = share_BN @ (ours_N**2 + theirs_N**2)
        expected_B = squares_B - 2 * (share_BN @ ours_N) * (share_BN @ theirs_N)
    is_certain_B = expected_B <= 1e-12
    found_B: Array = 1 - observed_B / np.where(is_certain_B, np.nan, expected_B)
    return found_B


def _interval(
    mean: float,
    figure: Callable[[Array], Array],
    count_NV: Array,
    index_N: NDArray[np.intp],
    confidence: float,
    resamples: int,
    seed: int,
) -> Estimate:
    """What resampling clusters gives a figure of agreement, or Student's where that is wider."""
    num = int(index_N.max()) + 1
    if num == 1:
        return Estimate(mean=mean, low=-1.0, high=1.0)
    quantile = t_quantile(confidence, num - 1)
    if mean == 1:
        share_V = count_NV.sum(axis=0) / count_NV.sum()
        by_chance = 1 - float((share_V**2).sum())
        most = wilson(0.0, num, quantile)[1] / by_chance
        return Estimate(mean=1.0, low=max(1 - most, -1.0), high=1.0)
    chosen = np.random.default_rng(seed)
    weight_BC = chosen.multinomial(num, np.full(num, 1 / num), size=resamples)
    found_B = figure(weight_BC[:, index_N].astype(np.float64))
    # a resample in which all are alike says nothing about agreement
    found_B = found_B[~np.isnan(found_B)]
    tail, half = (1 - confidence) / 2, quantile * float(found_B.std())
    low, high = np.quantile(found_B, [tail, 1 - tail])
    return Estimate(
        mean=mean, low=float(min(low, mean - half)), high=float(min(max(high, mean + half), 1.0))
    )


def _clusters(ratings_RN: ArrayLike, clusters_N: Sequence[Hashable] | None) -> NDArray[np.intp]:
    """Number of the cluster of each unit that two raters rated."""
    is_rated_N = (~np.isnan(np.asarray(ratings_RN, dtype=np.float64))).sum(axis=0) > 1
    if clusters_N is None:
        return np.arange(is_rated_N.sum())
    if len(clusters_N) != len(is_rated_N):
        raise ValueError(f"{len(clusters_N)} clusters for {len(is_rated_N)} units.")
    of = [cluster for cluster, is_rated in zip(clusters_N, is_rated_N, strict=True) if is_rated]
    place = {cluster: at for at, cluster in enumerate(dict.fromkeys(of))}
    return np.array([place[cluster] for cluster in of])


def _counted(ratings_RN: ArrayLike, level: str) -> tuple[Array, Array]:
    """How often each unit got each value, [N, V], and the values, [V]; units rated twice alone."""
    if level not in get_args(Level):
        raise ValueError(f"level = {level!r}: give {', '.join(get_args(Level))}.")
    rating_RN = np.asarray(ratings_RN, dtype=np.float64)
    if rating_RN.ndim != 2 or np.isinf(rating_RN).any():
        raise ValueError("ratings: give finite numbers, raters x units, NaN where one is missing.")
    rating_RN = rating_RN[:, (~np.isnan(rating_RN)).sum(axis=0) > 1]
    if rating_RN.shape[1] < FEWEST_UNITS:
        raise ValueError(
            f"{rating_RN.shape[1]} units were rated by two raters or more: agreement needs "
            f"{FEWEST_UNITS} at least."
        )
    value_V = np.unique(rating_RN[~np.isnan(rating_RN)])
    return (rating_RN[:, :, None] == value_V).sum(axis=0).astype(np.float64), value_V


def _alphas(count_NV: Array, value_V: Array, weight_BN: Array, level: str) -> Array:
    """Alpha of each weighting of the units, [B]; NaN where all values are alike.

    The sum over all pairs of ratings of their squared difference needs no pairs: with m ratings
    it is 2 (m sum x^2 - (sum x)^2), of ranks too, and of names it is m^2 - sum of squared counts.
    """
    size_N = count_NV.sum(axis=1)
    total_BV = weight_BN @ count_NV
    total_B = total_BV.sum(axis=1)
    if level == "nominal":
        within_BN = (size_N**2 - (count_NV**2).sum(axis=1))[None]
        among_B = total_B**2 - (total_BV**2).sum(axis=1)
    else:
        # the place of a value among all ratings: so far apart are two values as ranks
        rank_BV = total_BV.cumsum(axis=1) - total_BV / 2
        x_BV = rank_BV if level == "ordinal" else np.broadcast_to(value_V, total_BV.shape)
        x_BV = x_BV - x_BV.mean(axis=1, keepdims=True)
        within_BN = 2 * (size_N * (x_BV**2 @ count_NV.T) - (x_BV @ count_NV.T) ** 2)
        among_B = 2 * (
            total_B * (total_BV * x_BV**2).sum(axis=1) - (total_BV * x_BV).sum(axis=1) ** 2
        )
    observed_B = (weight_BN * within_BN / (size_N - 1)).sum(axis=1) / total_B
    expected_B = among_B / (total_B * (total_B - 1))
    is_alike_B = (total_BV > 0).sum(axis=1) < 2
    found_B: Array = 1 - observed_B / np.where(is_alike_B, np.nan, expected_B)
    return found_B
