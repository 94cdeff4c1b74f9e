"""What a judge is worth, held against people: agreement, accuracy, and whether it beats chance.

Shape letters: R = raters, N = responses.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from munro.evaluation.agreement import Level, alpha_interval, kappa_interval
from munro.evaluation.judges.pairs import share
from munro.evaluation.statistics import Estimate

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeFigures:
    """One judge beside people.

    Example:
        figures(verdict_N, rating_RN, raters=["ann"], clusters=questions).is_better_than_chance
    """

    responses: int
    judged: int
    """That the judge gave a figure for, and people are not split on."""
    split: int
    """Responses on which as many said the one as the other."""
    level: Level
    alpha: Estimate | None
    """Agreement of the judge with people's median; None where nothing can be said."""
    kappa: Estimate | None
    """How far beyond what its habits and theirs would give; above 0 where it knows anything."""
    why_none: str = ""
    """Why there is no kappa."""
    people: Estimate | None = None
    """Agreement among people, where there are several."""
    raters: Mapping[str, tuple[Estimate | None, Estimate | None]] = field(default_factory=dict)
    """Of each: agreement with the median of the others, and with the judge."""
    accuracy: Estimate | None = None
    """Where labels are verdicts; so are the next four."""
    recall: Estimate | None = None
    """Of what people call 1, share that the judge calls 1."""
    precision: Estimate | None = None
    """Of what the judge calls 1, share that people call 1."""
    positive: float = math.nan
    """Share that people call 1."""
    commonest: float = math.nan
    """Accuracy of always saying what people say most often."""

    @property
    def is_better_than_chance(self) -> bool:
        """Whether the interval of its kappa with people lies above 0."""
        return self.kappa is not None and self.kappa.low > 0

    @property
    def is_worse_than_chance(self) -> bool:
        """Whether it lies below."""
        return self.kappa is not None and self.kappa.high < 0


def figures(
    judge_N: Sequence[float],
    rating_RN: Array,
    *,
    raters: Sequence[str],
    clusters: Sequence[Hashable],
    level: Level | None = None,
) -> JudgeFigures:
    """Figures of a judge on responses that people labelled.

    Args:
        judge_N: what the judge says of each; NaN where it failed, which counts nowhere.
        rating_RN: what people say; NaN where one said nothing.
        raters: their names.
        clusters: what each response answers.
        level: of agreement; nominal for verdicts and ordinal for grades unless given.

    Raises:
        ValueError: the judge gave no figure at all.
    """
    judge, rating = np.asarray(judge_N, np.float64), np.asarray(rating_RN, np.float64)
    if np.isnan(judge).all():
        raise ValueError("the judge judged nothing: there is nothing to hold against people.")
    are_verdicts = _are_verdicts(rating)
    level = level or ("nominal" if are_verdicts else "ordinal")
    median_N = _median(rating)
    is_split_N = are_verdicts & (median_N == 0.5)
    median_N = np.where(is_split_N, np.nan, median_N)
    found = _agreement([judge, median_N], level, clusters)
    kappa, why = _kappa(judge, median_N, level, clusters)
    of_raters = {}
    for at, name in enumerate(raters):
        others = _median(np.delete(rating, at, axis=0)) if len(raters) > 1 else None
        own = _agreement([rating[at], others], level, clusters) if others is not None else None
        of_raters[name] = (own, _agreement([judge, rating[at]], level, clusters))
    both_N = ~np.isnan(judge) & ~np.isnan(median_N)
    measured = JudgeFigures(
        responses=len(judge),
        judged=int(both_N.sum()),
        split=int(is_split_N.sum()),
        level=level,
        alpha=found,
        kappa=kappa,
        why_none=why,
        people=_agreement(rating, level, clusters) if len(raters) > 1 else None,
        raters=of_raters,
    )
    if not (are_verdicts and _are_verdicts(judge) and both_N.any()):
        return measured
    return _with_verdicts(measured, judge[both_N], median_N[both_N], _of(clusters, both_N))


def _with_verdicts(
    measured: JudgeFigures, judge_N: Array, people_N: Array, clusters: Sequence[Hashable]
) -> JudgeFigures:
    right_N = judge_N == people_N
    positive = float(people_N.mean())

    def among(is_in_N: NDArray[np.bool_]) -> Estimate | None:
        if not is_in_N.any():
            return None
        return share(right_N[is_in_N].astype(float).tolist(), _of(clusters, is_in_N))

    return replace(
        measured,
        accuracy=share(right_N.astype(float).tolist(), clusters),
        recall=among(people_N == 1),
        precision=among(judge_N == 1),
        positive=positive,
        commonest=max(positive, 1 - positive),
    )


def _agreement(
    rating_RN: Sequence[Array] | Array, level: Level, clusters: Sequence[Hashable]
) -> Estimate | None:
    try:
        return alpha_interval(np.stack(list(rating_RN)), level, clusters)
    except ValueError:  # nothing to agree about
        return None


def _kappa(
    judge_N: Array, people_N: Array, level: Level, clusters: Sequence[Hashable]
) -> tuple[Estimate | None, str]:
    try:
        return kappa_interval(judge_N, people_N, level, clusters), ""
    except ValueError as error:
        return None, str(error)


def _are_verdicts(rating: Array) -> bool:
    return bool(np.isin(rating[~np.isnan(rating)], (0, 1)).all())


def _median(rating_RN: Array) -> Array:
    """Of each response, [N]; NaN where nobody said anything."""
    is_rated_N = ~np.isnan(rating_RN).all(axis=0)
    median_N = np.full(rating_RN.shape[1], np.nan)
    median_N[is_rated_N] = np.nanmedian(rating_RN[:, is_rated_N], axis=0)
    return median_N


def _of(clusters: Sequence[Hashable], is_in_N: NDArray[np.bool_]) -> list[Hashable]:
    return [cluster for cluster, is_in in zip(clusters, is_in_N, strict=True) if is_in]
