"""The length part of the reward: Eq. 12, and DAPO's."""

from __future__ import annotations

import pytest

from munro.rewards.length import overlong, penalty


@pytest.mark.parametrize(
    ("num_tokens", "pass_rate", "cap", "expected"),
    [(500, 0.8, 1000, 0.4), (1000, 0.8, 1000, 0.8), (0, 1, 10, 0), (10, 0, 10, 0), (1, 1, 1, 1)],
)
def test_the_penalty_is_pass_rate_times_share_of_the_cap(num_tokens, pass_rate, cap, expected):
    assert penalty(num_tokens, pass_rate, cap) == pytest.approx(expected)


def test_the_largest_deduction_within_the_gates_is_a_fifth():
    assert 0.25 * penalty(4096, 0.8, 4096) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("num_tokens", "pass_rate", "cap", "name"),
    [
        (11, 0.5, 10, "num_tokens"),
        (-1, 0.5, 10, "num_tokens"),
        (1, 1.01, 10, "pass_rate"),
        (1, -0.1, 10, "pass_rate"),
        (1, float("nan"), 10, "pass_rate"),
        (0, 0.5, 0, "cap"),
    ],
)
def test_arguments_out_of_range_are_named(num_tokens, pass_rate, cap, name):
    with pytest.raises(ValueError, match=f"^{name} is"):
        penalty(num_tokens, pass_rate, cap)


@pytest.mark.parametrize(
    ("num_tokens", "expected"), [(0, 0), (800, 0), (801, 0.005), (900, 0.5), (1000, 1.0)]
)
def test_overlong_costs_in_a_line_on_the_last_stretch(num_tokens, expected):
    assert overlong(num_tokens, cap=1000, stretch=200) == expected


@pytest.mark.parametrize(
    ("num_tokens", "cap", "stretch", "name"),
    [
        (11, 10, 5, "num_tokens"),
        (-1, 10, 5, "num_tokens"),
        (1, 10, 0, "stretch"),
        (1, 10, 11, "stretch"),
    ],
)
def test_arguments_of_overlong_out_of_range_are_named(num_tokens, cap, stretch, name):
    with pytest.raises(ValueError, match=f"^{name} is"):
        overlong(num_tokens, cap, stretch)
