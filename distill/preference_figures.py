"""How good a preference model is on comparisons it has not seen, with rotation and without.

Position bias is the difference that a place makes: every candidate is shown at every place, among
its rivals in random order, and the largest difference between the mean scores of two places is
told. With rotation a candidate's score cannot depend on where it stood, save for the order of its
rivals, which is what is left to measure.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from munro.rewards.preference import PreferenceModel
from munro.rewards.preference.comparisons import Comparison
from munro.rewards.preference.format import rotations


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Figures of one way of reading scores off the model."""

    pairwise_accuracy: float
    """Share of held-out pairs in the right order; equal scores count half."""
    position_bias: float
    """Largest difference between the mean scores, in [0, 1], of two places."""
    spread: float
    """Mean over candidates of the difference between its highest and lowest score."""
    by_place: tuple[float, ...]
    """Mean score of the same candidates at the first place, the second, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What `munro preference train` reports."""

    comparisons: int
    """Held-out ones."""
    pairs: int
    """Pairs of held-out candidates whose scores differ."""
    bias_comparisons: int
    """Held-out comparisons over which position bias was measured."""
    bias_candidates: int
    """Candidates in each of these."""
    rotated: Reading
    """As rewards are computed: every candidate read where it stands first."""
    unrotated: Reading
    """From one reading of the list in one order."""


def measure(
    model: PreferenceModel, comparisons: Sequence[Comparison], *, most_for_bias: int, seed: int
) -> Figures:
    """Figures of `model` on judged comparisons; of more than k candidates the first k are taken.

    Raises:
        GraderError: the model gives no scores.
    """
    most = model.format.limits.candidates
    shown = [_first(comparison, most) for comparison in comparisons]
    sets = [(one.context, one.candidates) for one in shown]
    pairs = [one.pairs for one in shown]
    accuracy = {
        "rotated": accuracy_of(model.score_many(sets), pairs),
        "unrotated": accuracy_of(model.score_without_rotation(sets), pairs),
    }
    alike = _same_size(shown)
    rng = random.Random(f"{seed}:bias")
    biased = rng.sample(alike, min(most_for_bias, len(alike)))
    rotated, unrotated = scores_by_place(model, biased, rng)
    return Figures(
        comparisons=len(shown),
        pairs=sum(map(len, pairs)),
        bias_comparisons=len(biased),
        bias_candidates=len(biased[0].candidates),
        rotated=_reading(accuracy["rotated"], rotated),
        unrotated=_reading(accuracy["unrotated"], unrotated),
    )


def accuracy_of(
    scores: Sequence[Sequence[float]], pairs: Sequence[Sequence[tuple[int, int]]]
) -> float:
    """Share of (better, worse) pairs that the scores put in this order; a tie counts half.

    Example:
        accuracy_of([[0.9, 0.1, 0.1]], [[(0, 1), (1, 2)]])  # 0.75
    """
    right = [
        1.0 if given[better] > given[worse] else 0.5 * (given[better] == given[worse])
        for given, ordered in zip(scores, pairs, strict=True)
        for better, worse in ordered
    ]
    return sum(right) / len(right)


def scores_by_place(
    model: PreferenceModel, comparisons: Sequence[Comparison], rng: random.Random
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score of every candidate at every place, with rotation and without.

    The rivals stand in an order drawn anew for each. All comparisons have the same size.

    Returns:
        two arrays [N, K, P]: comparison, candidate, the place at which it was shown.
    """
    size = len(comparisons[0].candidates)
    first: list[tuple[str, list[str]]] = []
    whole: list[tuple[str, list[str]]] = []
    for comparison, candidate, place in product(comparisons, range(size), range(size)):
        order = [rival for rival in range(size) if rival != candidate]
        rng.shuffle(order)
        order.insert(place, candidate)
        for found, indices in ((first, rotations(order)[place]), (whole, order)):
            found.append((comparison.context, [comparison.candidates[i] for i in indices]))
    rotated = model.score_first(first)
    read = model.score_without_rotation(whole)
    unrotated = [scores[row % size] for row, scores in enumerate(read)]
    shape = (len(comparisons), size, size)
    return (
        np.array(rotated, np.float64).reshape(shape),
        np.array(unrotated, np.float64).reshape(shape),
    )


def _reading(accuracy: float, score_NKP: NDArray[np.float64]) -> Reading:
    by_place_P = score_NKP.mean(axis=(0, 1))
    return Reading(
        pairwise_accuracy=accuracy,
        position_bias=float(np.ptp(by_place_P)),
        spread=float(np.ptp(score_NKP, axis=2).mean()),
        by_place=tuple(by_place_P.tolist()),
    )


def _first(comparison: Comparison, most: int) -> Comparison:
    return Comparison(
        context=comparison.context,
        candidates=comparison.candidates[:most],
        scores=comparison.scores[:most],
    )


def _same_size(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those with the commonest number of candidates (the larger of two that are as common)."""
    sizes = Counter(len(comparison.candidates) for comparison in comparisons)
    size = max(sizes, key=lambda size: (sizes[size], size))
    return [comparison for comparison in comparisons if len(comparison.candidates) == size]
