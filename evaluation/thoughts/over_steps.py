"""Curves over the steps with their intervals; what changed between beginning and end, and when.

Attempts at one task resemble each other, so an interval is about groups of them. Many features are
looked at, so the p-values of what changed are corrected together (Holm): of twenty runs in which
nothing changes, at most about one says that anything did.

Shape letters: N = rows, G = groups (attempts at one task in one step), S = steps, F = features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from munro.evaluation.statistics import Difference, Estimate, holm, t_outside, t_quantile, wilson
from munro.evaluation.thoughts.types import Array, Feature, Rows

EDGE = 0.1
"""Share of the steps that is the beginning, and that is the end."""
DRAWS = 499
"""Orders of the steps that a change is held against."""
SHORTEST = 0.03
"""Share of the steps on either side of a change."""
MOST_STEPS = 300
"""Places that a change is looked for at; more steps are put together."""
SURE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """One feature, summed over the attempts of each group."""

    step: NDArray[np.int64]
    """[G], ascending."""
    sums: Array
    """[G]"""
    counts: Array
    """[G] attempts that the question arises for; above 0."""
    is_share: bool

    def at(self, is_in: NDArray[np.bool_]) -> Groups:
        """Some of them."""
        return Groups(
            step=self.step[is_in],
            sums=self.sums[is_in],
            counts=self.counts[is_in],
            is_share=self.is_share,
        )

    def estimate(self) -> Estimate:
        """Their mean, and its interval over groups."""
        mean, error, degrees = self._moments()
        if degrees < 1:
            return Estimate(mean=mean, low=-math.inf, high=math.inf)
        quantile = t_quantile(0.95, degrees)
        if not self.is_share:
            half = quantile * error
            return Estimate(mean=mean, low=mean - half, high=mean + half)
        size = float(np.clip(mean * (1 - mean) / max(error**2, 1e-300), degrees + 1, self.num))
        if mean in (0.0, 1.0):
            size = float(degrees + 1)
        low, high = wilson(min(max(mean, 0.0), 1.0), size, quantile)
        return Estimate(mean=mean, low=low, high=high)

    @property
    def num(self) -> float:
        """Attempts."""
        return float(self.counts.sum())

    def _moments(self) -> tuple[float, float, int]:
        """Mean, its standard error over groups, degrees of freedom."""
        mean = float(self.sums.sum() / self.num)
        number = len(self.sums)
        if number < 2:
            return mean, math.inf, 0
        off = self.sums - mean * self.counts
        spread = number / (number - 1) * float((off**2).sum())
        return mean, math.sqrt(spread) / self.num, number - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One feature at the beginning and at the end of a run.

    Example:
        change.p < 0.05 and change.step     # about when
    """

    early: Estimate
    late: Estimate
    difference: Difference
    """Late less early."""
    p: float
    """As if this feature were the only one (Holm)."""
    step: int | None
    """The first step after the sharpest change; None where no step stands out."""
    p_step: float
    """How often steps in another order would change as sharply (Holm)."""


@dataclass(slots=True)
class Tally:
    """Sums over groups, as rows go by.

    Example:
        tally = Tally({"length": Length()})
        for rows in read_rows(folder):
            tally.add(rows)
        tally.groups()["length"].estimate()
    """

    features: Mapping[str, Feature]
    num: int = 0
    _keys: list[NDArray[np.int64]] = field(default_factory=list)
    _sums: list[Array] = field(default_factory=list)
    _counts: list[Array] = field(default_factory=list)

    def add(self, rows: Rows) -> dict[str, Array]:
        """Count these; gives the values of each feature."""
        values = {name: feature.values(rows) for name, feature in self.features.items()}
        keys_N = np.stack([rows.step, rows.group], axis=1)
        keys_G, place_N = np.unique(keys_N, axis=0, return_inverse=True)
        place_N = place_N.reshape(-1)
        sums_GF, counts_GF = (np.zeros((len(keys_G), len(values))) for _ in range(2))
        for at, (name, value_N) in enumerate(values.items()):
            arises_N = ~np.isnan(value_N)
            counted_N = np.where(arises_N, value_N, 0.0)
            if self.features[name].is_share:
                counted_N = (counted_N > 0).astype(np.float64)
            sums_GF[:, at] = np.bincount(place_N, counted_N, len(keys_G))
            counts_GF[:, at] = np.bincount(place_N, arises_N, len(keys_G))
        self._keys.append(keys_G)
        self._sums.append(sums_GF)
        self._counts.append(counts_GF)
        self.num += len(value_N) if values else 0
        return values

    def groups(self) -> dict[str, Groups]:
        """By feature; those that never arose are left out."""
        if not self._keys:
            return {}
        # a group may lie in two batches
        keys_G, place = np.unique(np.concatenate(self._keys), axis=0, return_inverse=True)
        place = place.reshape(-1)
        found = {}
        for at, (name, feature) in enumerate(self.features.items()):
            sums_G, counts_G = (
                _summed(place, np.concatenate([one[:, at] for one in many]), len(keys_G))
                for many in (self._sums, self._counts)
            )
            arises_G = counts_G > 0
            if arises_G.any():
                found[name] = Groups(
                    step=keys_G[arises_G, 0],
                    sums=sums_G[arises_G],
                    counts=counts_G[arises_G],
                    is_share=feature.is_share,
                )
        return found


def curve(groups: Groups, most: int = 0) -> list[tuple[int, int, Estimate]]:
    """(first step, last step, estimate) of every step, or of `most` runs of neighbouring ones."""
    steps = np.unique(groups.step)
    parts = (
        np.array_split(steps, most)
        if most and len(steps) > most
        else np.split(steps, range(1, len(steps)))
    )
    found = []
    for part in parts:
        begin, end = np.searchsorted(groups.step, [part[0], part[-1] + 1])
        is_in = np.zeros(len(groups.step), bool)
        is_in[begin:end] = True
        found.append((int(part[0]), int(part[-1]), groups.at(is_in).estimate()))
    return found


def compared(pairs: Mapping[str, tuple[Groups, Groups]]) -> dict[str, Difference]:
    """The second less the first of each pair, p-values corrected together (Holm).

    Welch's interval over groups, which resemble nobody else's.
    """
    found = {name: _difference(*pair) for name, pair in pairs.items()}
    ps = holm([one.p for one in found.values()])
    return {
        name: Difference(mean=one.mean, low=one.low, high=one.high, p=p)
        for (name, one), p in zip(found.items(), ps, strict=True)
    }


def changes(groups: Mapping[str, Groups], *, seed: int = 0) -> dict[str, Change]:
    """What changed from the first tenth of the steps to the last, and when most sharply.

    Features of which either end has none are left out.
    """
    pairs, steps = {}, np.unique(np.concatenate([one.step for one in groups.values()]))
    edge = max(1, round(EDGE * len(steps)))
    for name, one in groups.items():
        ends = one.at(one.step <= steps[edge - 1]), one.at(one.step >= steps[-edge])
        if len(steps) > 1 and all(len(end.sums) for end in ends):
            pairs[name] = ends
    differences = compared(pairs)
    sharpest = {name: _sharpest(groups[name], seed) for name in pairs}
    ps = holm([p for _, p in sharpest.values()])
    return {
        name: Change(
            early=pairs[name][0].estimate(),
            late=pairs[name][1].estimate(),
            difference=differences[name],
            p=differences[name].p,
            step=sharpest[name][0] if p < SURE else None,
            p_step=p,
        )
        for name, p in zip(pairs, ps, strict=True)
    }


def _difference(early: Groups, late: Groups) -> Difference:
    (a, error_a, degrees_a), (b, error_b, degrees_b) = early._moments(), late._moments()
    mean, squared = b - a, error_a**2 + error_b**2
    if not (degrees_a and degrees_b):
        return Difference(mean=mean, low=-math.inf, high=math.inf, p=1.0)
    if squared == 0:
        # all groups of an end agree: as often would chance part as many groups like that
        p = 1.0 if mean == 0 else separated(degrees_a + 1, degrees_b + 1)
        return Difference(mean=mean, low=mean, high=mean, p=p)
    degrees = squared**2 / (error_a**4 / degrees_a + error_b**4 / degrees_b)
    whole = max(1, int(degrees))
    half = t_quantile(0.95, whole) * math.sqrt(squared)
    p = t_outside(mean / math.sqrt(squared), whole)
    return Difference(mean=mean, low=mean - half, high=mean + half, p=p)


def separated(early: int, late: int) -> float:
    """How often chance puts so many things in one order and no other: all of one end first."""
    return min(1.0, 2 / math.comb(early + late, early))


def _sharpest(groups: Groups, seed: int) -> tuple[int | None, float]:
    """The first step after the split into two levels that explains most, and its p-value.

    Held against the same steps in other orders (a permutation test), of which the sharpest split
    of each counts.
    """
    steps = np.unique(groups.step)
    parts = np.array_split(steps, MOST_STEPS) if len(steps) > MOST_STEPS else [*steps[:, None]]
    firsts = np.array([part[0] for part in parts])
    place = np.searchsorted(firsts, groups.step, side="right") - 1
    sums_S = _summed(place, groups.sums, len(firsts))
    counts_S = _summed(place, groups.counts, len(firsts))
    shortest = max(1, math.ceil(SHORTEST * len(firsts)))
    if len(firsts) < max(6, 2 * shortest + 1):
        return None, 1.0
    order = np.random.default_rng(seed)
    orders = np.stack(
        [np.arange(len(firsts)), *(order.permutation(len(firsts)) for _ in range(DRAWS))]
    )
    gain = _gains(sums_S[orders], counts_S[orders])[:, shortest - 1 : len(firsts) - shortest]
    most = gain.max(axis=1)
    # equal gains of other orders count as well, rounding aside
    p = float((most >= most[0] * (1 - 1e-9)).mean())
    at = shortest + int(gain[0].argmax())
    return (int(firsts[at]), p) if most[0] > 0 else (None, 1.0)


def _gains(sums_BS: Array, counts_BS: Array) -> Array:
    """[B, S - 1] of each split after a step: how much two levels explain that one does not."""
    sum_BS, count_BS = sums_BS.cumsum(axis=1), counts_BS.cumsum(axis=1)
    all_sum, all_count = sum_BS[:, -1:], count_BS[:, -1:]
    before, after = count_BS[:, :-1], all_count - count_BS[:, :-1]
    gap = sum_BS[:, :-1] / before - (all_sum - sum_BS[:, :-1]) / after
    gains: Array = gap**2 * before * after / all_count
    return gains


def _summed(place: NDArray[np.intp], values: Array, number: int) -> Array:
    """Values added up by the places they belong to."""
    return np.bincount(place, values, number).astype(np.float64)


def as_plain(estimate: Estimate) -> Sequence[float | None]:
    """[mean, low, high], six digits each; an end that is endless is None."""
    ends = (estimate.mean, estimate.low, estimate.high)
    return [float(f"{end:.6g}") if math.isfinite(end) else None for end in ends]
