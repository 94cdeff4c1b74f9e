"""Advantages by hand-worked numbers and by what must not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from munro.rewards.combine.compose import RewardBreakdown
from munro.rl.advantage import group_relative
from tests.builders import make_group


def test_one_success_in_four_by_hand():
    # mean 1/4, population variance 3/16
    std = (3 / 16) ** 0.5
    expected = [0.75 / (std + 1e-6), *[-0.25 / (std + 1e-6)] * 3]
    assert group_relative(make_group(1, 0, 0, 0)) == pytest.approx(expected, rel=1e-12)


def test_the_deviation_is_the_population_one():
    rewards = [0.1, 0.5, 0.9, -2.0, 0.4]
    expected = (np.array(rewards) - np.mean(rewards)) / np.std(rewards)
    assert group_relative(make_group(*rewards), eps=0) == pytest.approx(expected)


@pytest.mark.parametrize("shift", [-3.0, 10.0])
def test_only_differences_inside_the_group_matter(shift):
    rewards = [0.0, 0.25, 1.0]
    moved = [reward + shift for reward in rewards]
    assert group_relative(make_group(*moved)) == pytest.approx(group_relative(make_group(*rewards)))


@pytest.mark.parametrize("eps", [0.0, 1e-6])
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1 + 0.2, 1.475])
def test_a_group_that_agrees_gets_zeros(reward, eps):
    assert group_relative(make_group(*[reward] * 7), eps=eps) == [0.0] * 7


def test_it_is_the_total_that_counts_in_the_order_of_the_attempts():
    group = make_group(1, 1)
    paid = RewardBreakdown(task=1.0, language=1.0, total=1.5)
    group = replace(group, attempts=(group.attempts[0], replace(group.attempts[1], reward=paid)))
    low, high = group_relative(group)
    assert low == pytest.approx(-1, rel=1e-4)
    assert high == pytest.approx(1, rel=1e-4)


def test_a_reward_that_is_not_finite_names_its_task():
    group = make_group(1, 0)
    broken = replace(group.attempts[0], reward=RewardBreakdown(task=1.0, total=float("nan")))
    with pytest.raises(ValueError, match=r"'17\+25'"):
        group_relative(replace(group, attempts=(broken, group.attempts[1])))
