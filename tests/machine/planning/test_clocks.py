"""The simulator against our own control between sides that only wait, as recorded.

`benchmarks/scale/record_clocks.py` ran the machine's loop, ledger, buffer and bound on staleness.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from munro.machine.planning.scenario import Outcome, Scenario
from munro.machine.planning.simulate import Climb

RECORD = json.loads(Path(__file__).with_name("clocks.json").read_text())


def simulated(climb: dict[str, Any], seed: int) -> Outcome:
    """The same: groups of one attempt that keeps nobody waiting, as long as one recorded."""
    scenario = Scenario(
        servers=1,
        slots=1 << 20,
        token_s=1.0,
        token_more_s=0.0,
        num_early=1,
        num_later=0,
        pass_early=1.0,
        pass_full=1.0,
        num_groups=RECORD["num_groups"],
        every_steps=climb["every_steps"],
        max_staleness=climb["max_staleness"],
        in_flight=climb["in_flight"],
        trained_s=0.0,
        # sampling goes on while weights travel, so that belongs to the step
        step_s=climb["busy_s"],
        recorded=tuple(climb["group_s"]),
        num_steps=260,
        warm_up=60,
        seed=seed,
    )
    return Climb(scenario).run()


@pytest.mark.parametrize("climb", RECORD["climbs"], ids=lambda c: f"{c['in_flight']} in flight")
def test_steps_and_ages_are_those_of_the_machines_own_loop(climb: dict[str, Any]) -> None:
    found = [simulated(climb, seed) for seed in range(4)]
    seconds = fmean(3600 / out.steps_per_hour for out in found)
    assert seconds == pytest.approx(climb["step_s"], rel=0.15)
    assert fmean(out.staleness[0] for out in found) == pytest.approx(climb["staleness"], rel=0.15)
