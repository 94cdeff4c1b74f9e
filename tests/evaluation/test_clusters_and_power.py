"""Clusters, weights, means of parts, and how many tasks decide: against simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from munro.evaluation.statistics import (
    Estimate,
    effective_size,
    holm,
    mean_of,
    paired,
    pass_at_1,
    t_outside,
    t_quantile,
    tasks_to_decide,
    wilson,
)


def test_clusters_of_one_are_no_clusters():
    passed = np.random.default_rng(0).random((40, 4)) < 0.7
    assert pass_at_1(passed, [str(n) for n in range(40)]) == pass_at_1(passed)
    assert mean_of(passed, range(40)) == mean_of(passed)


@pytest.mark.parametrize(("texts", "each"), [(12, 5), (40, 5), (40, 3)])
@pytest.mark.parametrize("rate", [0.6, 0.9])
def test_intervals_over_clusters_hold_where_those_over_tasks_do_not(texts, each, rate):
    """Questions on one text are right or wrong together."""
    rng = np.random.default_rng(texts)
    held, naive, draws = 0, 0, 300
    clusters = np.repeat(np.arange(texts), each).tolist()
    for _ in range(draws):
        of_text = rng.beta(rate * 0.5, (1 - rate) * 0.5, size=texts)
        passed = rng.random((texts * each, 2)) < np.repeat(of_text, each)[:, None]
        found, alone = pass_at_1(passed, clusters), pass_at_1(passed)
        held += found.low <= rate <= found.high
        naive += alone.low <= rate <= alone.high
    assert held / draws >= 0.92
    assert naive / draws < 0.85


def test_unequal_clusters_are_worth_less_than_their_number():
    passed = np.ones((10, 1))
    even, uneven = [0] * 5 + [1] * 5, [0] * 9 + [1]
    index_of = np.array
    assert effective_size(passed, index_of(even)) == pytest.approx(2)
    assert effective_size(passed, index_of(uneven)) == pytest.approx(100 / 82)


def test_means_of_parts_hold_their_truth_and_of_one_task_nothing_is_known():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        found = mean_of(rng.gamma(2.0, size=(25, 3)) * rng.gamma(2.0, size=(25, 1)))
        held += found.low <= 4 <= found.high
    assert held / 400 >= 0.9  # skewed as they are
    assert mean_of([[1.0, 2.0]]) == Estimate(mean=1.5, low=-math.inf, high=math.inf)


def test_the_interval_of_means_is_students_over_tasks():
    """As inspect-ai's `ci()` has it: standard error over tasks, Student's quantile."""
    values = np.random.default_rng(3).normal(size=(12, 4))
    of_task = values.mean(axis=1)
    half = t_quantile(0.95, 11) * of_task.std(ddof=1) / math.sqrt(12)
    found = mean_of(values)
    assert found.low == pytest.approx(values.mean() - half)
    assert found.high == pytest.approx(values.mean() + half)


def test_weights_by_hand_and_that_a_task_without_one_is_not_there():
    a, b = np.zeros((4, 1)), np.array([[1.0], [0.0], [0.5], [9.0]])
    found = paired(a, b, weights_N=[1, 1, 2, 0])
    assert found.mean == pytest.approx(0.5)
    assert found == paired(a[:3], b[:3], weights_N=[1, 1, 2])
    assert paired(a, b, list("wxyz"), weights_N=[1, 1, 2, 0]) == found


def test_student_both_ways():
    for degrees in (1, 2, 9, 200):
        for confidence in (0.5, 0.95, 0.999):
            assert t_outside(t_quantile(confidence, degrees), degrees) == pytest.approx(
                1 - confidence, abs=1e-9
            )


def test_the_number_of_tasks_by_hand():
    # a standard error of 0.1 at 100 tasks, a distance of 0.1: (1.96 + 0.84)^2 = 7.8 times as many
    half = t_quantile(0.95, 99) * 0.1
    found = Estimate(mean=0.6, low=0.6 - half, high=0.6 + half)
    assert tasks_to_decide(found, 0.5, 100) == pytest.approx(785, abs=2)
    assert tasks_to_decide(found, 0.6, 100) is None
    assert tasks_to_decide(Estimate(mean=1, low=-math.inf, high=math.inf), 0.5, 1) is None


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: paired([[1]], [[1], [0]]), "1 tasks against 2"),
        (lambda: paired([[1], [0]], [[1], [0]], weights_N=[0, 0]), "all weights are 0"),
        (lambda: paired([[1], [0]], [[1], [0]], weights_N=[-1, 1]), "none under 0"),
        (lambda: mean_of([[float("nan")]]), "not finite"),
        (lambda: pass_at_1([[1], [0]], ["a"]), "1 clusters of 2 tasks"),
        (lambda: mean_of([1.0]), "give tasks x attempts"),
        (lambda: mean_of([[1.0], [2.0]], confidence=0), "confidence = 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()


def test_nothing_to_correct_is_nothing():
    assert holm([]) == []
    assert wilson(0.0, 10, 2.0)[0] == 0
