"""Figures that stay out of their bounds are a collapse; those that come back are none."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.rl.collapse import Watch
from munro.rl.config import CollapseConfig

CONFIG = CollapseConfig(
    patience=3, entropy_low=0.1, entropy_high=2.0, mismatch_kl=0.5, grad_norm=10.0,
    pass_rate_drop=0.3,
)  # fmt: skip
HEALTHY = {
    "policy/entropy": 0.3,
    "policy/mismatch_kl": 1e-4,
    "learner/grad_norm": 0.5,
    "pass_rate/sampled": 0.6,
}


def watched(*steps, config=CONFIG):
    watch = Watch()
    for figures in steps:
        watch = watch.after(HEALTHY | figures, config)
    return watch


@pytest.mark.parametrize(
    ("figure", "value", "said"),
    [
        ("policy/entropy", 0.05, "policy/entropy under 0.1 for 3 steps"),
        ("policy/entropy", 2.5, "policy/entropy over 2 for 3 steps"),
        ("policy/mismatch_kl", 0.6, "policy/mismatch_kl over 0.5 for 3 steps"),
        ("learner/grad_norm", math.inf, "learner/grad_norm over 10 for 3 steps"),
        ("learner/grad_norm", math.nan, "learner/grad_norm over 10 for 3 steps"),
        ("pass_rate/sampled", 0.25, "pass_rate/sampled under 0.3 for 3 steps"),
    ],
)
def test_a_figure_out_of_bounds_for_long_enough_is_a_collapse(figure, value, said):
    steps = [{}] * 4 + [{figure: value}] * 2
    assert watched(*steps).found(6, CONFIG) is None
    found = watched(*steps, {figure: value}).found(7, CONFIG)
    assert (found.began, found.cause) == (5, said)


def test_a_figure_that_comes_back_into_its_bounds_starts_from_nothing():
    low = {"policy/entropy": 0.01}
    assert watched(low, low, {}, low, low).found(5, CONFIG) is None


def test_a_step_without_a_figure_neither_counts_nor_clears():
    low = {"policy/entropy": 0.01}
    watch = watched(low, low).after({"pass_rate/sampled": 0.6}, CONFIG)
    assert watch.found(3, CONFIG) is None
    assert watch.after(HEALTHY | low, CONFIG).found(4, CONFIG) is not None


def test_the_collapse_began_with_the_first_figure_that_left_its_bounds():
    steep = {"learner/grad_norm": 99.0}
    both = {"learner/grad_norm": 99.0, "policy/entropy": 0.01}
    found = watched({}, steep, both, both).found(4, CONFIG)
    assert found.began == 2
    assert found.cause == "learner/grad_norm over 10 for 3 steps"


def test_a_bound_of_0_is_not_watched():
    off = CollapseConfig(
        patience=1, entropy_low=0, entropy_high=0, mismatch_kl=0, grad_norm=0, pass_rate_drop=0
    )
    wild = {"policy/entropy": 99.0, "policy/mismatch_kl": 9.0, "learner/grad_norm": 1e9}
    assert watched(wild, wild | {"pass_rate/sampled": 0.0}, config=off).found(2, off) is None


def test_a_climb_that_cannot_take_another_step_has_collapsed_at_once():
    steep = {"learner/grad_norm": 99.0}
    assert watched({}, {}).failed("nothing passed").found(2, CONFIG).began == 3
    found = watched({}, steep).failed("nothing passed").found(2, CONFIG)
    assert (found.began, found.cause) == (2, "nothing passed")


@given(st.lists(st.floats(0, 1), max_size=30))
def test_the_best_pass_rate_never_falls_and_no_lone_step_sets_it(rates):
    watch, before = Watch(), 0.0
    for rate in rates:
        watch = watch.after({"pass_rate/sampled": rate}, CONFIG)
        assert watch.best >= before
        before = watch.best
    means = [sum(rates[i : i + 3]) / 3 for i in range(len(rates) - 2)]
    assert watch.best == pytest.approx(max(means, default=0))


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1)), min_size=1, max_size=20))
def test_what_is_found_began_after_the_start_and_not_after_now(figures):
    watch = Watch()
    for step, (entropy, rate) in enumerate(figures, start=1):
        metrics = {"policy/entropy": entropy, "pass_rate/sampled": rate}
        watch = watch.after(metrics, CONFIG)
        found = watch.found(step, CONFIG)
        assert found is None or 1 <= found.began <= step - CONFIG.patience + 1
