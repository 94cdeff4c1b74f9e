"""How often a judge or a preference model orders candidates as people did, and what place buys.

Shape letters: N = comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean

from munro.evaluation.statistics import Estimate, mean_of, t_quantile, wilson
from munro.rewards.preference.comparison import Comparison

Scores = Sequence[float] | None
"""One for each candidate; None where none could be had."""
AsShown = Callable[[Sequence[tuple[str, Sequence[str]]]], Sequence[Scores]]
"""Scores for the candidates of each context, read once in the order given."""
ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFigures:
    """How well scores order candidates, over one subset.

    Example:
        figures_by_subset(comparisons, scores)["all"].accuracy.mean     # 0.71
    """

    comparisons: int
    """That were scored and of which people prefer something."""
    accuracy: Estimate
    """Share of (better, worse) pairs in the right order, each comparison counting once; equal
    scores count half."""
    best: Estimate | None = None
    """Share whose better candidates all stand above all the worse, where there are more than two
    candidates; equal scores are wrong."""
    chance: float = 0.0
    """What `best` would be for scores at random."""
    together: Estimate | None = None
    """Of those with several equally good ones: share whose good ones lie nearer to each other than
    to the rest."""

    @property
    def is_better_than_chance(self) -> bool:
        """Whether the interval of the accuracy leaves 1/2 below it."""
        return self.accuracy.low > 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What standing first is worth, over pairs that were shown in both orders."""

    pairs: int
    first: Estimate
    """Share of the choices that fell on what stood first; 1/2 is no bias."""
    same: Estimate
    """Share of pairs of which the same text won in both orders."""

    @property
    def is_biased(self) -> bool:
        """Whether the interval leaves 1/2 out."""
        return not self.first.low <= 0.5 <= self.first.high


def figures_by_subset(
    comparisons: Sequence[Comparison], scores_N: Sequence[Scores]
) -> dict[str, PairFigures]:
    """Figures over all comparisons, then over each subset and question, by name.

    Ties of people, and comparisons without scores, count nowhere; nor does a subset without any
    that counts.
    """
    rows = [
        (comparison, list(scores))
        for comparison, scores in zip(comparisons, scores_N, strict=True)
        if scores is not None and comparison.pairs
    ]
    names: dict[str, list[tuple[Comparison, list[float]]]] = {ALL: rows}
    for row in rows:
        if name := _name(row[0]):
            names.setdefault(name, []).append(row)
    return {name: _figures(some) for name, some in names.items() if some}


def places(comparisons: Sequence[Comparison], as_shown: AsShown) -> Places | None:
    """What standing first is worth, over comparisons of two; None where there are none.

    Raises:
        GraderError: as `as_shown`.
    """
    pairs = [one for one in comparisons if len(one.candidates) == 2]
    shown = as_shown([(one.context, one.candidates) for one in pairs])
    swapped = as_shown([(one.context, one.candidates[::-1]) for one in pairs])
    return places_of(
        [(a, b) for a, b in zip(shown, swapped, strict=True)], [one.context for one in pairs]
    )


def places_of(
    shown: Sequence[tuple[Scores, Scores]], clusters: Sequence[Hashable]
) -> Places | None:
    """The same from scores of pairs in one order and in the other; None where there are none.

    Args:
        shown: of each pair, scores by place in the one order, and in the other.
        clusters: what each pair is about.
    """
    first, same, of = [], [], []
    for (here, there), cluster in zip(shown, clusters, strict=True):
        if here is None or there is None:
            continue
        wins, wins_swapped = _order(*here), _order(*there)
        first.append((wins + wins_swapped) / 2)
        same.append(float(wins == 1 - wins_swapped))
        of.append(cluster)
    if not first:
        return None
    mean = mean_of([[each] for each in first], of)
    bounded = Estimate(mean=mean.mean, low=max(mean.low, 0.0), high=min(mean.high, 1.0))
    return Places(pairs=len(first), first=bounded, same=share(same, of))


def share(values_N: Sequence[float], clusters_N: Sequence[Hashable]) -> Estimate:
    """A mean of figures from 0 to 1, with Wilson's interval over what they are about.

    Args:
        values_N: verdicts, or shares of verdicts, at least one.
        clusters_N: figures of one cluster resemble each other: together they count once in the
            interval.
    """
    of: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values_N, clusters_N, strict=True):
        of.setdefault(cluster, []).append(value)
    mean = fmean(values_N)
    if len(of) == 1:
        return Estimate(mean=mean, low=0.0, high=1.0)
    low, high = wilson(mean, len(of), t_quantile(0.95, len(of) - 1))
    return Estimate(mean=mean, low=low, high=high)


def _name(comparison: Comparison) -> str:
    return " ".join(filter(None, [comparison.question, comparison.subset]))


def _figures(rows: Sequence[tuple[Comparison, list[float]]]) -> PairFigures:
    contexts = [comparison.context for comparison, _ in rows]
    right = [
        fmean(_order(scores[better], scores[worse]) for better, worse in comparison.pairs)
        for comparison, scores in rows
    ]
    many = [row for row in rows if len(row[0].candidates) > 2]
    several = [row for row in many if sum(_is_top(row[0])) > 1]
    return PairFigures(
        comparisons=len(rows),
        accuracy=share(right, contexts),
        best=_share_of(many, _is_best) if many else None,
        chance=fmean(_chance(comparison) for comparison, _ in many) if many else 0.0,
        together=_share_of(several, _is_together) if several else None,
    )


def _share_of(
    rows: Sequence[tuple[Comparison, list[float]]],
    holds: Callable[[Comparison, Sequence[float]], bool],
) -> Estimate:
    values = [float(holds(comparison, scores)) for comparison, scores in rows]
    return share(values, [comparison.context for comparison, _ in rows])


def _order(better: float, worse: float) -> float:
    """1 where the first stands above the second, 1/2 where they are level."""
    return 1.0 if better > worse else 0.5 * (better == worse)


def _is_top(comparison: Comparison) -> list[bool]:
    return [score == max(comparison.scores) for score in comparison.scores]


def _parted(comparison: Comparison, scores: Sequence[float]) -> tuple[list[float], list[float]]:
    top = _is_top(comparison)
    good = [score for score, is_top in zip(scores, top, strict=True) if is_top]
    return good, [score for score, is_top in zip(scores, top, strict=True) if not is_top]


def _is_best(comparison: Comparison, scores: Sequence[float]) -> bool:
    good, rest = _parted(comparison, scores)
    return min(good) > max(rest)


def _is_together(comparison: Comparison, scores: Sequence[float]) -> bool:
    good, rest = _parted(comparison, scores)
    return min(good) - max(rest) > max(good) - min(good)


def _chance(comparison: Comparison) -> float:
    return 1 / comb(len(comparison.scores), sum(_is_top(comparison)))


def table_of(figures: Mapping[str, PairFigures]) -> list[str]:
    """Lines for a person: one a subset, and whether it is better than chance."""
    width = max(len(name) for name in figures) + 2
    lines = [f"{'':<{width}}{'comparisons':>12}  {'accuracy':<24}better than chance"]
    for name, of in figures.items():
        told = "yes" if of.is_better_than_chance else "cannot be said: 0.5 is in the interval"
        if of.accuracy.high < 0.5:
            told = "no: worse than chance"
        lines.append(f"{name:<{width}}{of.comparisons:>12}  {of.accuracy!s:<24}{told}")
        for what, estimate, more in (
            ("best of all", of.best, f" (chance {of.chance:.3f})"),
            ("good ones together", of.together, ""),
        ):
            if estimate is not None:
                lines.append(f"{'':<{width}}{'':>12}  {estimate!s:<24}{what}{more}")
    return lines
