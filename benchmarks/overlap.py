"""What the control of an asynchronous climb loses, between sides that only wait.

    python benchmarks/overlap.py [--steps 60] [--balance 1.0]

Sampling and learning overlap where `sync.max_staleness` is above 0, and a step ought to take no
longer than the slower of the two alone. The loop, the ledger, the buffer and the bound on staleness
are the machine's; servers and learner are clocks: groups take as long as a seeded draw says (an
exponential tail on a floor, as replies have), the learner and the transfer of weights a fixed
time, during which sampling goes on. Balance is sampling over learning; at 1 any hiccup of either
side is a loss, so that is the hardest. Nobody computes, so that the figure is the same on any
machine, and says what the control costs and not what two sides cost each other that share
processors.

    kept = (seconds a step of the slower side, never made to wait) / (seconds a step of both)
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from munro.envs.types import Ending, KeptTokens, Task, Trajectory
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade
from munro.rl.batch import StepReport
from munro.rl.climb import climb
from munro.rl.clip import Clip
from munro.rl.config import BatchConfig, CheckpointConfig, ClimbConfig, SyncConfig
from munro.rl.control.controller import Ledger
from munro.rl.control.journal import Journal
from munro.rl.control.streaming import OffPolicy
from munro.rl.state import ClimbState, Cursor
from munro.rollout.config import RolloutConfig
from munro.rollout.telling import told
from munro.rollout.types import Attempt, Group, Outcome

BAR = 0.85
NUM_GROUPS = 8
"""A step's."""
IN_FLIGHT = 16
"""Groups that the servers sample at once."""
MAX_STALENESS = 4
WARM_UP = 5
"""Steps that do not count: the first wait for the first groups."""


@dataclass
class Servers:
    """As many groups at once as they have room for; each takes its own time."""

    mean_s: float
    version: int = 0
    seconds: list[float] = field(default_factory=list)
    """Of every group that came back."""
    _running: list[tuple[float, float, Outcome]] = field(default_factory=list)

    def assign(self, tasks: Sequence[tuple[int, int]]) -> None:
        """Begin at once."""
        for index, _ in tasks:
            drawn = random.Random(f"group {index}").expovariate(2 / self.mean_s)
            seconds = self.mean_s / 2 + drawn
            made = told(group(index, self.version), None)
            self._running.append((time.monotonic() + seconds, seconds, made))

    def next_outcomes(self, timeout_s: float) -> Sequence[Outcome]:
        """Those that are done, after at most so long a wait for the first."""
        now = time.monotonic()
        first = min((end for end, _, _ in self._running), default=now + timeout_s)
        time.sleep(max(0.0, min(first - now, timeout_s)))
        now = time.monotonic()
        done = [one for one in self._running if one[0] <= now]
        self._running = [one for one in self._running if one[0] > now]
        self.seconds += [seconds for _, seconds, _ in done]
        return [one for _, _, one in done]

    def solve_all(self, tasks: Sequence[tuple[int, int]], deadline_s: float) -> Sequence[Outcome]:
        """Of a climb that takes turns: not measured here."""
        raise NotImplementedError

    def lost(self, groups: Sequence[Outcome]) -> Sequence[Outcome]:  # noqa: ARG002 - a port
        """None."""
        return []

    def forget(self, groups: Sequence[Outcome]) -> None:
        """Nothing is held."""


@dataclass
class Learner:
    """Takes its time."""

    seconds: float

    def step(self, groups: Sequence[Outcome], *, clip: Clip) -> StepReport:  # noqa: ARG002 - a port
        """One step."""
        time.sleep(self.seconds)
        return StepReport(metrics={}, entropy=1.0)


@dataclass
class Publisher:
    """Takes its time too; groups that begin later are of the new version."""

    seconds: float
    servers: Servers

    def publish(self, version: int) -> Mapping[str, float]:
        """New weights."""
        time.sleep(self.seconds)
        self.servers.version = version
        return {}


@dataclass
class Run:
    """Notes when each step ended, and what went to waste."""

    ended: list[float] = field(default_factory=list)
    stale: float = 0.0

    def should_stop(self) -> bool:
        """Never."""
        return False

    def draft(self, state: ClimbState, groups: Sequence[Outcome]) -> None:
        """Nothing to keep."""

    def record(self, state: ClimbState, groups: Sequence[Outcome]) -> None:
        """Nothing to keep."""

    def evaluate(self, state: ClimbState) -> Mapping[str, float]:  # noqa: ARG002 - a port
        """Nothing to evaluate."""
        return {}

    def log(self, state: ClimbState, metrics: Mapping[str, float]) -> None:
        """A step is over."""
        if state.step:
            self.ended.append(time.monotonic())
            self.stale += metrics.get("groups/stale", 0.0)

    def save_if_due(self, state: ClimbState) -> None:
        """Nor where one is due."""

    def save(self, state: ClimbState) -> None:
        """Nothing to write."""


def group(index: int, version: int) -> Group:
    """Two attempts, one right and one wrong."""
    sampled = np.array([False, True, True])
    trajectory = Trajectory(
        token_ids=np.array([1, 2, 3], np.int32),
        sampled=sampled,
        behaviour_logp=np.where(sampled, -1.0, 0.0).astype(np.float32),
        kept=KeptTokens.nothing(3),
        versions=np.where(sampled, version, -1).astype(np.int32),
        ending=Ending.ANSWERED,
    )
    attempts = tuple(
        Attempt(
            trajectory=trajectory,
            grade=Grade(reward=paid, passed=paid > 0),
            reward=RewardBreakdown(task=paid, total=paid),
        )
        for paid in (1.0, 0.0)
    )
    task = Task(id=str(index), prompt="?", env="clock")
    return Group(index=index, task=task, attempts=attempts, early_pass_rate=0.5)


def measure(steps: int, learning_s: float, sync_s: float, balance: float) -> dict[str, float]:
    """One climb between clocks.

    Args:
        steps: that count.
        learning_s: of a step.
        sync_s: of its weights' transfer.
        balance: sampling's seconds a step over learning's, transfer included.
    """
    slow_s = learning_s + sync_s
    servers = Servers(mean_s=balance * slow_s * IN_FLIGHT / NUM_GROUPS)
    config = ClimbConfig(
        num_steps=WARM_UP + steps,
        rollout=RolloutConfig(groups_in_flight=IN_FLIGHT),
        batch=BatchConfig(num_groups=NUM_GROUPS),
        sync=SyncConfig(every_steps=1, max_staleness=MAX_STALENESS),
        checkpoint=CheckpointConfig(every_steps=WARM_UP + steps),
    )
    run, state = Run(), ClimbState.first(config.clip)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.jsonl")
        ledger = Ledger(config, Cursor(), journal, str, step=0)
        groups = OffPolicy(config, ledger, servers, state, run.should_stop)
        try:
            climb(config, state, groups, Learner(learning_s), Publisher(sync_s, servers), run)
        finally:
            groups.close()
            journal.close()
    both_s = (run.ended[-1] - run.ended[WARM_UP - 1]) / steps
    sampling_s = fmean(servers.seconds) * NUM_GROUPS / IN_FLIGHT
    return {
        "sampling_s": sampling_s,
        "learning_s": slow_s,
        "both_s": both_s,
        "kept": max(sampling_s, slow_s) / both_s,
        "stale_groups": run.stale,
    }


def main() -> None:
    """Measure, print, and fail below the bar."""
    parser = argparse.ArgumentParser(description="What an asynchronous climb's control loses.")
    parser.add_argument("--steps", type=int, default=60, help="that count")
    parser.add_argument("--learning", type=float, default=0.45, help="seconds a step")
    parser.add_argument("--sync", type=float, default=0.05, help="seconds a step")
    parser.add_argument("--balance", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    args = parser.parse_args()
    found = {}
    for balance in args.balance:
        one = found[str(balance)] = measure(args.steps, args.learning, args.sync, balance)
        figures = "  ".join(f"{name} {value:.3f}" for name, value in one.items())
        print(f"balance {balance:g}: {figures}", flush=True)
    print(json.dumps({"benchmark": "overlap", "bar": BAR, "found": found}))
    if min(one["kept"] for one in found.values()) < BAR:
        sys.exit(f"less than {BAR:.0%} of the slower side's time is kept")


if __name__ == "__main__":
    main()
