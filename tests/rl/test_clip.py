"""The entropy controller against the closed form of its recursion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.rl.clip import IDLE_STEPS, Clip, is_idle


def test_the_production_bounds_are_those_of_the_report():
    clip = Clip(eps=0.6)
    assert (clip.low, clip.high) == pytest.approx((0.4, 2.5))
    assert clip.adapted(0.1, 0.3, 0.25, 2.5).high == pytest.approx(2.75)


def test_without_widening_the_bounds_are_inverses():
    for eps in (0.1, 0.3, 0.6, 0.9):
        assert Clip(eps=eps).low * Clip(eps=eps).high == pytest.approx(1)


def test_ten_steps_open_it_fully_and_ten_close_it():
    clip = Clip(eps=0.6)
    widenings = []
    for entropy in [0.1] * 12 + [0.5] * 12:
        clip = clip.adapted(entropy, 0.3, 0.25, 2.5)
        widenings.append(clip.widening)
    # closed form while entropy stays on one side: k_n = min(n delta, k_max), then back
    expected = [min(0.25 * n, 2.5) for n in range(1, 13)]
    expected += [max(2.5 - 0.25 * n, 0.0) for n in range(1, 13)]
    assert widenings == pytest.approx(expected)


@given(
    st.lists(st.sampled_from([0.1, 0.3, 0.5]), max_size=60),
    st.integers(1, 8).map(lambda n: n / 4),
    st.integers(0, 12).map(lambda n: n / 4),
)
def test_any_history_gives_the_reflected_walk(entropies, step, most):
    clip = Clip(eps=0.6)
    for entropy in entropies:
        clip = clip.adapted(entropy, 0.3, step, most)
    # Skorokhod reflection at both walls, one step at a time in exact arithmetic
    k = 0.0
    for entropy in entropies:
        k = min(max(k + step * {0.1: 1, 0.3: 0, 0.5: -1}[entropy], 0), most)
    assert clip.widening == k
    assert 0 <= clip.widening <= most


def test_on_target_or_unknown_it_stays():
    clip = Clip(eps=0.6, widening=1.0)
    assert clip.adapted(0.3, 0.3, 0.25, 2.5) == clip
    assert clip.adapted(float("nan"), 0.3, 0.25, 2.5) == clip


def test_adapting_changes_nothing_but_the_widening():
    clip = Clip(eps=0.4, outer=7.0)
    after = clip.adapted(0.0, 0.3, 0.25, 2.5)
    assert (after.eps, after.outer, clip.widening) == (0.4, 7.0, 0.0)


def test_the_controller_is_idle_where_no_ratio_reached_a_bound_for_a_while():
    assert not is_idle([0.0] * (IDLE_STEPS - 1))
    assert is_idle([0.3] + [0.0] * IDLE_STEPS)
    assert not is_idle([0.0] * IDLE_STEPS + [0.001])
