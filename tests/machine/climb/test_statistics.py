"""Estimates against closed forms and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.machine.climb.statistics import Estimate, pass_at_1, pass_at_k


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


def test_the_interval_is_that_of_the_exact_bootstrap_of_two_tasks():
    # resampling tasks {0, 1} gives means 0, 1/2, 1 with chances 1/4, 1/2, 1/4
    passed = [[1, 1], [0, 0]]
    estimate = pass_at_1(passed, confidence=0.4, num_resamples=20_000)
    assert (estimate.low, estimate.high) == (0.5, 0.5)
    estimate = pass_at_1(passed, confidence=0.6, num_resamples=20_000)
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_the_interval_nears_the_normal_one_over_many_tasks():
    rng = np.random.default_rng(7)
    passed = rng.random((2000, 1)) < 0.3
    estimate = pass_at_1(passed)
    half = 1.96 * passed.std() / np.sqrt(2000)
    assert estimate.low == pytest.approx(estimate.mean - half, abs=0.002)
    assert estimate.high == pytest.approx(estimate.mean + half, abs=0.002)


def test_more_runs_of_the_same_outcome_do_not_narrow_the_interval():
    few = np.array([[1], [0], [0], [1], [0]])
    assert pass_at_1(few) == pass_at_1(np.repeat(few, 8, axis=1))


def test_the_interval_depends_on_the_seed_alone():
    passed = np.random.default_rng(1).random((31, 4)) < 0.5
    assert pass_at_1(passed, seed=3) == pass_at_1(passed, seed=3)
    assert pass_at_1(passed, num_resamples=50) != pass_at_1(passed, num_resamples=50, seed=4)


def test_tasks_that_all_pass_leave_no_doubt():
    assert pass_at_1([[1, 1]] * 3) == Estimate(mean=1.0, low=1.0, high=1.0)
    assert str(Estimate(mean=0.5, low=0.25, high=0.75)) == "0.500 [0.250, 0.750]"


@pytest.mark.parametrize("passed", [[], [1, 0], [[]], [[0.5]], [[2]], [[float("nan")]]])
def test_what_is_not_a_table_of_verdicts_is_refused(passed):
    with pytest.raises(ValueError, match="verdict"):
        pass_at_1(passed)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match="k = 3: with 2 attempts"):
        pass_at_k([[1, 0]], 3)
    with pytest.raises(ValueError, match="confidence"):
        pass_at_1([[1]], confidence=1.0)
    with pytest.raises(ValueError, match="num_resamples"):
        pass_at_1([[1]], num_resamples=0)
