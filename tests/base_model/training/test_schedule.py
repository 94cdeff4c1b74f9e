"""Schedules against their closed forms."""

from __future__ import annotations

import math

import pytest

from munro.base_model.config import ScheduleConfig
from munro.base_model.training.schedule import constant, cosine, linear, schedule


def test_every_shape_rises_linearly_to_one_at_the_last_step_of_the_warmup():
    for shape in ("constant", "linear", "cosine"):
        rate = schedule(ScheduleConfig(shape=shape, warmup_steps=4), num_steps=20)
        assert [rate(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_without_a_warmup_the_first_step_is_taken_at_the_peak():
    assert constant(0, warmup=0) == 1
    assert cosine(0, warmup=0, num_steps=10, final=0.1) == 1
    assert linear(0, warmup=0, num_steps=10, final=0.1) == 1


def test_the_cosine_is_halfway_at_the_middle_and_ends_at_its_final_rate():
    assert cosine(60, warmup=20, num_steps=100, final=0.2) == pytest.approx(0.6)
    assert cosine(40, warmup=20, num_steps=100, final=0.0) == pytest.approx(
        0.5 * (1 + math.cos(math.pi / 4))
    )
    assert cosine(100, warmup=20, num_steps=100, final=0.2) == pytest.approx(0.2)


def test_the_line_falls_by_the_same_amount_every_step():
    rates = [linear(step, warmup=2, num_steps=12, final=0.0) for step in range(2, 13)]
    assert rates == pytest.approx([1 - 0.1 * step for step in range(11)])


def test_after_the_run_the_rate_stays_where_it_ended():
    assert cosine(500, warmup=20, num_steps=100, final=0.2) == pytest.approx(0.2)
    assert linear(500, warmup=20, num_steps=100, final=0.2) == pytest.approx(0.2)
    assert constant(500, warmup=20) == 1
