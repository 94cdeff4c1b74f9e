"""The simulator against climbs of our own, two servers on CPUs (benchmarks/scale/record.py)."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from munro.machine.planning.scenario import Outcome, Scenario
from munro.machine.planning.simulate import Climb

RECORD = json.loads(Path(__file__).with_name("recorded.json").read_text())
HOW, CLIMBS = RECORD["how"], RECORD["climbs"]
SLOTS = 4
"""Attempts of one call, which the recorded engine computes one after another."""


def simulated(climb: dict[str, Any], token_s: float) -> Outcome:
    """The same climb; a token takes the same in each."""
    scenario = Scenario(
        **HOW,
        slots=SLOTS,
        token_s=token_s,
        token_more_s=0.0,
        pass_early=1.0,
        pass_full=1.0,
        max_staleness=8,
        in_flight=climb["in_flight"],
        trained_s=0.0,
        step_s=climb["train_s"],
        sync_s=climb["sync_s"],
        swaps_in_flight=False,
        recorded=tuple(climb["lengths"]),
        num_steps=200,
        warm_up=50,
    )
    return Climb(scenario).run()


def token_s() -> float:
    """By the last climb: what makes its simulated steps as long as they were."""
    low, high = 0.0, 1.0
    for _ in range(25):
        middle = (low + high) / 2
        slow = 3600 / simulated(CLIMBS[-1], middle).steps_per_hour > CLIMBS[-1]["step_s"]
        low, high = (low, middle) if slow else (middle, high)
    return high


def test_what_one_climb_told_foresees_the_others() -> None:
    each = token_s()
    assert 0 < each < 1
    for climb in CLIMBS[:-1]:
        out = simulated(climb, each)
        assert 3600 / out.steps_per_hour == pytest.approx(climb["step_s"], rel=0.15)
        assert out.staleness[0] == pytest.approx(climb["staleness"], rel=0.15)


def test_the_record_is_of_climbs_that_wait_for_their_servers() -> None:
    for climb in CLIMBS:
        assert climb["steps"] >= 28  # of 36, without those that warm up
        assert climb["train_s"] < climb["step_s"]
        assert fmean(climb["lengths"]) > 1
