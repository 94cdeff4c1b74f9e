"""Other advantages than the report's, by hand-worked numbers and what must not matter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from munro.machine.config import RunConfig
from munro.rewards.combine.tree import behind_gates, node_of
from munro.rewards.plugins import BadPlugin
from munro.rl.advantages.dr_grpo import dr_grpo
from munro.rl.advantages.gdpo import gdpo
from munro.rl.advantages.rloo import rloo
from munro.rl.config import LearnerConfig, LengthConfig
from munro.rl.curricula.schedule import schedule
from munro.rl.plugs import advantage_of
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


def parted(*parts):
    """A group whose attempts have these parts beside a total of their sum."""
    group = make_group(*[sum(of.values()) for of in parts])
    attempts = [
        replace(attempt, grade=replace(attempt.grade, parts=of))
        for attempt, of in zip(group.attempts, parts, strict=True)
    ]
    return replace(group, attempts=tuple(attempts))


FOUR = parted(
    {"right": 0.0, "brief": 0.0},
    {"right": 0.0, "brief": 10.0},
    {"right": 1.0, "brief": 0.0},
    {"right": 1.0, "brief": 10.0},
)


def test_gdpo_by_hand_each_part_in_its_own_deviations():
    # right: mean 1/2, deviation 1/2; brief: mean 5, deviation 5
    both = gdpo(FOUR, parts={"right": 1.0, "brief": 1.0}, eps=0.0)
    assert both == pytest.approx([-2.0, 0.0, 0.0, 2.0])
    weighed = gdpo(FOUR, parts={"right": 3.0, "brief": -0.5}, eps=0.0)
    assert weighed == pytest.approx([-2.5, -3.5, 3.5, 2.5])
    # of the sum 0, 10, 1, 11 being right is hardly seen
    summed = advantage_of(LearnerConfig())(FOUR)
    assert summed[1] > 0 > summed[2]


def test_for_gdpo_the_scale_of_a_part_does_not_matter_and_one_part_is_grpo():
    stretched = parted(
        *({**one.grade.parts, "brief": 7 + 3 * one.grade.parts["brief"]} for one in FOUR.attempts)
    )
    parts = {"right": 1.0, "brief": 1.0}
    assert gdpo(stretched, parts=parts, eps=0) == pytest.approx(gdpo(FOUR, parts=parts, eps=0))
    only = parted(*({"x": value} for value in (1.0, 0.0, 0.0, 0.5)))
    assert gdpo(only, parts={"x": 1.0}) == pytest.approx(advantage_of(LearnerConfig())(only))


def test_for_gdpo_a_part_on_which_all_agree_teaches_nothing():
    group = parted({"a": 1.0, "b": 0.3}, {"a": 1.0, "b": 0.3})
    assert gdpo(group, parts={"a": 1.0, "b": 1.0}) == [0.0, 0.0]
    assert gdpo(group, parts={"length": 1.0, "task": 1.0}) == [0.0, 0.0]


def test_gdpo_takes_its_weights_from_the_config_and_is_off_unless_asked_for():
    assert LearnerConfig().advantage == "group_relative"
    config = LearnerConfig(
        advantage="gdpo", advantage_parts={"right": 1.0, "brief": 1.0}, advantage_eps=0
    )
    assert advantage_of(config)(FOUR) == pytest.approx([-2.0, 0.0, 0.0, 2.0])
    with pytest.raises(ValueError, match="give their weights"):
        LearnerConfig(advantage="gdpo")
    with pytest.raises(ValueError, match="finite weights"):
        LearnerConfig(advantage="gdpo", advantage_parts={"right": float("inf")})
    with pytest.raises(BadPlugin, match="'rloo' does not: set"):
        advantage_of(LearnerConfig(advantage="rloo", advantage_parts={"right": 1.0}))


def test_a_part_that_an_attempt_has_not_is_one_sentence():
    group = parted({"gate": 1.0, "liked": 0.5}, {"gate": 0.0})
    with pytest.raises(BadPlugin, match=r"names 'liked', which an attempt .* has not"):
        gdpo(group, parts={"gate": 1.0, "liked": 1.0})


def climb(reward, **parts):
    graders = {name: {"kind": "brevity"} for name in ("brief", "short")}
    return RunConfig.model_validate(
        {
            "num_steps": 1,
            "env": {"path": "arithmetic", "graders": graders, "reward": reward},
            "learner": {"advantage": "gdpo", "advantage_parts": parts},
        }
    )


def test_parts_that_no_grader_scores_for_everybody_are_refused_before_anything_starts():
    total = {"kind": "sum", "parts": ["brief", "short", "task"]}
    gate = {"kind": "gated", "gate": "brief", "then": "short"}
    assert climb(total, brief=1.0, task=2.0, length=-0.25).learner.advantage == "gdpo"
    assert climb(gate, brief=1.0)
    with pytest.raises(ValueError, match=r"no grader of that name\. Did you mean 'brief'"):
        climb(total, breif=1.0)
    with pytest.raises(ValueError, match="'short', which stands behind a gate"):
        climb(gate, short=1.0)


def test_a_grader_that_a_gate_asks_too_is_not_behind_it():
    then = {"kind": "sum", "parts": ["liked", "safe/engagement"]}
    tree = node_of({"kind": "gated", "gate": "safe/compliance", "then": then})
    assert behind_gates(tree) == {"liked"}
    assert behind_gates(node_of({"kind": "sum", "parts": [tree, "liked"]})) == set()
