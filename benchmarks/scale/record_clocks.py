"""Record climbs of our own control between sides that only wait (benchmarks/overlap.py).

    python -m benchmarks.scale.record_clocks tests/machine/planning/clocks.json

The loop, the ledger, the buffer and the bound on staleness are the machine's; groups take as long
as they were drawn. So what the simulator says of who waits for whom can be held against it, on any
machine (tests/machine/planning/test_clocks.py).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.overlap import Learner, Publisher, Run, Servers
from munro.rl.climb import climb
from munro.rl.config import BatchConfig, CheckpointConfig, ClimbConfig, SyncConfig
from munro.rl.control.controller import Ledger
from munro.rl.control.journal import Journal
from munro.rl.control.streaming import OffPolicy
from munro.rl.state import ClimbState, Cursor
from munro.rollout.config import RolloutConfig

STEPS, WARM_UP = 40, 15
NUM_GROUPS, LEARNING_S, SYNC_S = 8, 4.5, 0.5
CASES = ((16, 4, 1, 0.5), (16, 4, 1, 1.0), (16, 4, 1, 1.4), (48, 3, 1, 0.5), (48, 8, 2, 0.8))
"""Groups in flight, bound on staleness, steps between updates, and sampling's seconds a step over
learning's."""


@dataclass
class Noting(Run):
    """Of every step, how old its groups were."""

    ages: list[float] = field(default_factory=list)
    busy_s: list[float] = field(default_factory=list)
    """What learner and publisher really took: nobody wakes on the dot on a busy machine."""

    def log(self, state: ClimbState, metrics: Mapping[str, float]) -> None:
        """A step is over."""
        super().log(state, metrics)
        if state.step:
            self.ages.append(metrics["staleness/mean"])
            self.busy_s.append(metrics["time/train"] + metrics["time/sync"])


def recorded(in_flight: int, bound: int, every: int, balance: float) -> dict[str, Any]:
    """One climb."""
    mean = balance * (LEARNING_S + SYNC_S / every) * in_flight / NUM_GROUPS
    servers = Servers(mean_s=mean)
    config = ClimbConfig(
        num_steps=WARM_UP + STEPS,
        rollout=RolloutConfig(groups_in_flight=in_flight),
        batch=BatchConfig(num_groups=NUM_GROUPS),
        sync=SyncConfig(every_steps=every, max_staleness=bound),
        checkpoint=CheckpointConfig(every_steps=WARM_UP + STEPS),
    )
    run, state = Noting(), ClimbState.first(config.clip)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.jsonl")
        ledger = Ledger(config, Cursor(), journal, str, step=0)
        groups = OffPolicy(config, ledger, servers, state, run.should_stop)
        try:
            climb(config, state, groups, Learner(LEARNING_S), Publisher(SYNC_S, servers), run)
        finally:
            groups.close()
            journal.close()
    return {
        "in_flight": in_flight,
        "max_staleness": bound,
        "every_steps": every,
        "step_s": (run.ended[-1] - run.ended[WARM_UP - 1]) / STEPS,
        "busy_s": fmean(run.busy_s[WARM_UP:]),
        "staleness": fmean(run.ages[WARM_UP:]),
        "stale_groups": run.stale,
        "group_s": [round(seconds, 3) for seconds in servers.seconds],
    }


if __name__ == "__main__":
    with ThreadPoolExecutor(len(CASES)) as threads:  # they only wait
        climbs = list(threads.map(lambda case: recorded(*case), CASES))
    for one in climbs:
        print({key: value for key, value in one.items() if key != "group_s"})
    Path(sys.argv[1]).write_text(json.dumps({"num_groups": NUM_GROUPS, "climbs": climbs}) + "\n")
