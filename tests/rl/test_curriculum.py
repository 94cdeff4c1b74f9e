"""Stages and budgets of response length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.rl.config import LengthConfig
from munro.rl.curriculum import next_stage, response_cap

STAGES = LengthConfig(stages=(100, 200, 400), truncation_trigger=0.2, patience=3)
BY_DIFFICULTY = LengthConfig(stages=(100, 200), budget="difficulty", difficulty_floor=0.25)


def test_a_stage_ends_when_the_last_steps_were_truncated_too_often_on_average():
    assert next_stage(0, [0.1, 0.2, 0.4], STAGES) == 1
    assert next_stage(0, [0.1, 0.2, 0.3], STAGES) == 0


def test_a_stage_lasts_at_least_its_patience():
    assert next_stage(0, [1.0, 1.0], STAGES) == 0
    assert next_stage(0, [1.0, 1.0, 1.0], STAGES) == 1


def test_only_the_last_steps_count():
    assert next_stage(1, [1.0, 1.0, 1.0, 0.0, 0.0, 0.0], STAGES) == 1


def test_the_last_stage_never_ends():
    assert next_stage(2, [1.0] * 9, STAGES) == 2


def test_one_cap_for_all_is_the_stage_s():
    assert [response_cap(STAGES, stage, 0.9) for stage in range(3)] == [100, 200, 400]


def test_harder_tasks_get_more_of_the_cap():
    caps = [response_cap(BY_DIFFICULTY, 1, rate) for rate in (1.0, 0.5, 0.0)]
    assert caps == [50, 125, 200]


def test_a_task_never_seen_gets_the_whole_cap():
    assert response_cap(BY_DIFFICULTY, 0, None) == 100


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1), st.integers(1, 10_000))
def test_a_budget_falls_with_the_pass_rate_and_stays_in_its_bounds(one, other, floor, cap):
    config = LengthConfig(stages=(cap,), budget="difficulty", difficulty_floor=floor)
    easier, harder = max(one, other), min(one, other)
    assert 1 <= response_cap(config, 0, easier) <= response_cap(config, 0, harder) <= cap


def test_stages_that_do_not_grow_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"length.stages = \[200, 100\].*caps that grow"):
        LengthConfig(stages=(200, 100))
