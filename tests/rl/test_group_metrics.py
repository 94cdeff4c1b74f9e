"""What a step's groups become in the metrics: every part of every reward, by itself."""

from __future__ import annotations

from dataclasses import replace

from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade
from munro.rl.clip import Clip
from munro.rl.group_metrics import MOST_PARTS, group_metrics
from munro.rl.state import ClimbState
from tests.builders import make_attempt, make_group

STATE = ClimbState.first(Clip())


def attempt_of(parts, **reward):
    whole = RewardBreakdown(**({"task": 1.0, "total": 1.0} | reward))
    return replace(make_attempt(), grade=Grade(reward=1.0, parts=parts), reward=whole)


def test_parts_of_a_grade_appear_and_are_averaged_over_those_that_have_them():
    attempts = (attempt_of({"safe": 0.0}), attempt_of({"safe": 1.0, "brief": 0.5}))
    found = group_metrics([make_group(attempts=attempts, early_pass_rate=1.0)], STATE)
    assert found["reward/safe"] == 0.5
    assert found["reward/brief"] == 0.5


def test_repetition_and_truncation_are_metrics_of_their_own():
    attempts = (attempt_of({}, repetition=0.5, truncation=1.0), attempt_of({}))
    found = group_metrics([make_group(attempts=attempts, early_pass_rate=1.0)], STATE)
    assert (found["reward/repetition"], found["reward/truncation"]) == (0.25, 0.5)


def test_a_grader_s_part_never_hides_a_part_of_the_total_and_their_number_is_bounded():
    parts = {"total": 0.25} | {f"test_{n:03}": 1.0 for n in range(200)}
    found = group_metrics([make_group(attempts=(attempt_of(parts),), early_pass_rate=1.0)], STATE)
    assert found["reward/total"] == 1.0
    assert sum(name.startswith("reward/test_") for name in found) <= MOST_PARTS
