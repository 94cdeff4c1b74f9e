"""Accuracy and position bias, on models whose taste is known."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from munro.distill.preference_figures import accuracy_of, measure, scores_by_place
from munro.rewards.preference.comparisons import Comparison
from tests.rewards.preference_models import WORDS, known_model

GROUPS = [
    Comparison(
        context=word,
        candidates=("deer", "deer loch", "deer loch glen"),
        scores=(5, 3, 1),
    )
    for word in WORDS
]


def shorter(context: str, shown: list[str]) -> float:
    """P(5) of the candidate that is being scored: 0.5 to 0.9, shorter is better."""
    place = len(shown[-1])
    return 1.1 - 0.2 * len(shown[place].split())


def test_accuracy_counts_pairs_in_the_right_order_and_ties_half():
    pairs = [[(0, 1), (0, 2), (1, 2)], [(1, 0)]]
    assert accuracy_of([[0.9, 0.5, 0.1], [0.2, 0.3]], pairs) == 1.0
    assert accuracy_of([[0.9, 0.1, 0.5], [0.2, 0.3]], pairs) == 0.75
    assert accuracy_of([[0.5, 0.5, 0.5], [0.3, 0.2]], pairs) == 0.375


def test_a_model_that_judges_the_text_alone_has_no_bias_however_it_is_read():
    model, _ = known_model(shorter, candidates=3)
    figures = measure(model, GROUPS, most_for_bias=4, seed=0)
    assert (figures.comparisons, figures.pairs) == (6, 18)
    assert (figures.bias_comparisons, figures.bias_candidates) == (4, 3)
    for reading in (figures.rotated, figures.unrotated):
        assert reading.pairwise_accuracy == 1.0
        assert reading.position_bias == pytest.approx(0)
        assert reading.spread == pytest.approx(0)
        assert reading.by_place == pytest.approx([0.7] * 3)


def test_a_taste_for_the_first_place_is_measured_and_rotation_removes_it():
    def rule(context: str, shown: list[str]) -> float:
        return shorter(context, shown) - 0.3 * (len(shown[-1]) > 0)

    model, _ = known_model(rule, candidates=3)
    worst_first = [
        Comparison(context=one.context, candidates=one.candidates[::-1], scores=(1, 3, 5))
        for one in GROUPS
    ]
    figures = measure(model, worst_first, most_for_bias=6, seed=0)
    assert figures.unrotated.by_place == pytest.approx([0.7, 0.4, 0.4])
    assert figures.unrotated.position_bias == pytest.approx(0.3)
    assert figures.unrotated.spread == pytest.approx(0.3)
    assert figures.unrotated.pairwise_accuracy == pytest.approx(2 / 3)
    assert figures.rotated.position_bias == pytest.approx(0)
    assert figures.rotated.spread == pytest.approx(0)
    assert figures.rotated.pairwise_accuracy == 1.0


def test_rotation_does_not_hide_that_the_order_of_rivals_counts():
    def rule(context: str, shown: list[str]) -> float:
        return 0.9 if len(shown[1].split()) == 1 else 0.1

    model, _ = known_model(rule, candidates=3)
    figures = measure(model, GROUPS, most_for_bias=6, seed=0)
    assert figures.rotated.spread > 0.2


def test_every_candidate_is_shown_at_every_place_among_rivals_in_random_order():
    model, scorer = known_model(shorter, candidates=3)
    rotated, unrotated = scores_by_place(model, GROUPS, random.Random(0))
    assert rotated.shape == unrotated.shape == (6, 3, 3)
    assert rotated[0, :, 0].tolist() == pytest.approx([0.9, 0.7, 0.5])
    orders = Counter(
        tuple(len(text.split()) for text in scorer.shown(prompt)[1][:3])
        for prompt in scorer.prompts[: 6 * 9]
    )
    assert {order[0] for order in orders} == {1, 2, 3}
    assert len(orders) == 6


def test_comparisons_larger_than_k_are_measured_on_their_first_k():
    model, _ = known_model(shorter, candidates=2)
    figures = measure(model, GROUPS, most_for_bias=9, seed=0)
    assert (figures.pairs, figures.bias_candidates) == (6, 2)


def test_bias_is_measured_on_the_commonest_size():
    model, _ = known_model(shorter, candidates=3)
    pair = Comparison(context="pair", candidates=("a", "a b"), scores=(5, 2))
    assert measure(model, [*GROUPS, pair], most_for_bias=9, seed=0).bias_comparisons == 6
