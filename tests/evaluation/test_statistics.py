"""Estimates against closed forms, tables, and simulated truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.evaluation.statistics import (
    Estimate,
    pass_at_1,
    pass_at_k,
    t_quantile,
    wilson,
)


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_pass_at_k_is_the_share_of_all_draws_that_hold_a_pass(runs, data):
    k = data.draw(st.integers(1, len(runs)))
    draws = list(itertools.combinations(runs, k))
    assert pass_at_k([runs], k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_k_averages_over_tasks():
    # C(3, 2) / C(4, 2) = 1/2 of the pairs fail; then all fail; then none
    assert pass_at_k([[1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], 2) == pytest.approx(
        (0.5 + 0 + 1) / 3
    )


def test_pass_at_k_is_exact_where_binomials_overflow_a_float():
    runs = [[1] + [0] * 1999]
    assert pass_at_k(runs, 1000) == pytest.approx(0.5, abs=1e-12)


def test_pass_at_1_is_the_mean_of_all_runs():
    passed = np.array([[1, 0, 1, 1], [0, 0, 0, 1]])
    assert pass_at_1(passed).mean == passed.mean() == pass_at_k(passed, 1)


def test_the_interval_nears_the_normal_one_over_many_tasks():
    rng = np.random.default_rng(7)
    passed = rng.random((2000, 1)) < 0.3
    estimate = pass_at_1(passed)
    half = 1.96 * passed.std() / np.sqrt(2000)
    assert estimate.low == pytest.approx(estimate.mean - half, abs=0.002)
    assert estimate.high == pytest.approx(estimate.mean + half, abs=0.002)


def test_more_runs_of_the_same_outcome_do_not_narrow_the_interval():
    few = np.array([[1], [0], [0], [1], [0]])
    again = pass_at_1(np.repeat(few, 8, axis=1))
    assert again == pass_at_1(few)


def test_runs_that_differ_as_much_as_tasks_do_narrow_it():
    rng = np.random.default_rng(2)
    wide, narrow = (pass_at_1(rng.random((400, runs)) < 0.5) for runs in (1, 4))
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("passed", [1, 0])
def test_three_tasks_that_all_end_alike_leave_much_doubt(passed):
    # n = 3 and t = 4.303 for two degrees of freedom: n / (n + t^2) = 0.139
    found = pass_at_1([[passed] * 2] * 3)
    assert (found.low, found.high) == pytest.approx((0.139, 1) if passed else (0, 0.861), abs=1e-3)
    assert found.mean == passed


def test_one_task_says_nothing_of_others():
    assert pass_at_1([[1, 0]]) == Estimate(mean=0.5, low=0, high=1)
    assert str(Estimate(mean=0.5, low=0.25, high=0.75)) == "0.500 [0.250, 0.750]"


T_TABLE = [
    (0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 3, 3.182), (0.95, 4, 2.776), (0.95, 9, 2.262),
    (0.95, 29, 2.045), (0.95, 100, 1.984), (0.99, 1000, 2.581), (0.9, 5, 2.015), (0.5, 1, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("confidence", "degrees", "printed"), T_TABLE)
def test_students_quantile_is_that_of_the_tables(confidence, degrees, printed):
    assert t_quantile(confidence, degrees) == pytest.approx(printed, abs=6e-4)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.5, 0.97, 1.0])
def test_wilsons_bounds_are_where_the_score_is_the_quantile(rate):
    for bound in wilson(rate, 40, 2.0):
        if 0 < bound < 1:
            assert abs(rate - bound) == pytest.approx(2 * np.sqrt(bound * (1 - bound) / 40))


RATES = (0.5, 0.9, 0.97)
ALIKE = {"very": 0.5, "little": 20.0}
"""How different tasks are: their true rates are drawn from Beta(p c, (1 - p) c)."""


def sampled(rate, alike, shape, rng):
    """Verdicts [N, R] on tasks whose true rates average to `rate`."""
    of_task_N = rng.beta(rate * alike, (1 - rate) * alike, size=shape[0])
    return rng.random(shape) < of_task_N[:, None]


@pytest.mark.parametrize("different", ALIKE)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("num_runs", [1, 4, 16])
@pytest.mark.parametrize("num_tasks", [10, 30, 100, 200])
def test_the_interval_holds_the_truth_as_often_as_it_says(num_tasks, num_runs, rate, different):
    rng = np.random.default_rng([num_tasks, num_runs, int(100 * rate), int(ALIKE[different])])
    draws = 1500
    held = 0
    for _ in range(draws):
        found = pass_at_1(sampled(rate, ALIKE[different], (num_tasks, num_runs), rng))
        held += found.low <= rate <= found.high
    assert held / draws >= 0.92


@pytest.mark.parametrize("different", ALIKE)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("shape", [(100, 4), (200, 4), (100, 16), (200, 16)])
def test_with_many_tasks_it_is_hardly_wider_than_a_bootstrap(shape, rate, different):
    rng = np.random.default_rng(5)
    ours = theirs = 0.0
    for _ in range(60):
        verdicts = sampled(rate, ALIKE[different], shape, rng)
        of_task_N = verdicts.mean(axis=1)
        means = of_task_N[rng.integers(shape[0], size=(1000, shape[0]))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        found = pass_at_1(verdicts)
        ours, theirs = ours + found.high - found.low, theirs + high - low
    # near the ceiling the bootstrap's own is too narrow: there it holds the truth in 91%
    assert 0.97 < ours / theirs < (1.18 if rate == 0.97 else 1.1)


@pytest.mark.parametrize("passed", [[], [1, 0], [[]], [[0.5]], [[2]], [[float("nan")]]])
def test_what_is_not_a_table_of_verdicts_is_refused(passed):
    with pytest.raises(ValueError, match="verdict"):
        pass_at_1(passed)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match="k = 3: with 2 attempts"):
        pass_at_k([[1, 0]], 3)
    with pytest.raises(ValueError, match="confidence"):
        pass_at_1([[1]], confidence=1.0)
