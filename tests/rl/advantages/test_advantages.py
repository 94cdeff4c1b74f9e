"""Other advantages than the report's, by hand-worked numbers and what must not matter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from munro.rl.advantages.dr_grpo import dr_grpo
from munro.rl.advantages.rloo import rloo
from munro.rl.config import LengthConfig
from munro.rl.curricula.schedule import schedule
from tests.builders import make_group

BOTH = [dr_grpo, rloo]


def test_dr_grpo_is_the_distance_from_the_mean():
    assert dr_grpo(make_group(1, 0, 0, 0)) == [0.75, -0.25, -0.25, -0.25]


def test_rloo_is_the_distance_from_the_mean_of_the_others():
    assert rloo(make_group(3, 1, 2)) == [1.5, -1.5, 0.0]
    # G / (G - 1) of the distance from the mean of all
    group = make_group(1, 0, 0, 0.5)
    assert rloo(group) == pytest.approx([4 / 3 * value for value in dr_grpo(group)])


@pytest.mark.parametrize("advantage", BOTH)
@pytest.mark.parametrize("reward", [0.1, -1 / 3, 1e9])
def test_rewards_that_agree_teach_nothing(advantage, reward):
    assert advantage(make_group(*[reward] * 7)) == [0.0] * 7


@pytest.mark.parametrize("advantage", BOTH)
def test_only_differences_inside_the_group_matter_and_the_scale_stays(advantage):
    moved = advantage(make_group(*[10 + 2 * reward for reward in (1.0, 0.0, 0.25)]))
    assert moved == pytest.approx([2 * value for value in advantage(make_group(1.0, 0.0, 0.25))])
    assert sum(moved) == pytest.approx(0)


@pytest.mark.parametrize("advantage", BOTH)
def test_a_reward_that_is_not_finite_is_told(advantage):
    group = make_group(1, 0)
    attempt = group.attempts[0]
    broken = replace(attempt, reward=replace(attempt.reward, total=float("nan")))
    with pytest.raises(ValueError, match="rewards must be finite"):
        advantage(replace(group, attempts=(broken, group.attempts[1])))


def test_a_schedule_moves_on_every_so_many_steps_up_to_the_last_stage():
    config = LengthConfig(stages=(8, 16), patience=3)
    assert [schedule(0, [0.0] * steps, config) for steps in (1, 2, 3)] == [0, 0, 1]
    assert schedule(1, [1.0] * 3, config) == 1
