"""What the driver of a climb costs a task, with workers that only answer.

    python benchmarks/scale/driver.py [--outcomes 1000000] [--workers 1000] [--in-flight 100000]

The loop, the ledger, the journal, the buffer, the metrics and the sharing out among ranks are the
machine's. Workers, learner and servers answer at once: what an outcome is made of is pickled where
a worker would (not counted) and taken up where the driver does (counted). Half-way the run is cut
off and taken up again from its last state, with 10^5 tasks under way; at the end the journal must
account for every task once.

    us a task   processor time of the driver over the outcomes, all told
    resume s    reading the journal and the state again until the first task is handed out
"""

from __future__ import annotations

import argparse
import json
import pickle
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from munro.rl.batch import StepReport
from munro.rl.climb import climb
from munro.rl.clip import Clip
from munro.rl.config import ClimbConfig
from munro.rl.control.controller import Ledger
from munro.rl.control.journal import Journal, audit
from munro.rl.control.streaming import OffPolicy
from munro.rl.sharing import shares
from munro.rl.state import ClimbState
from munro.rollout.cluster.dealing import Dealer
from munro.rollout.telling import FIGURES, ROW
from munro.rollout.types import Outcome, Place, Reason, Worth

GROUP, RANKS, AT_ONCE = 16, 64, 2000
EVERY = 50
"""Steps between checkpoints."""
PASSES = 4
"""One task in so many becomes a group."""
LIMITS = {"us a task": 100.0, "peak MB": 1000.0, "resume s": 30.0}


def outcome(index: int, version: int) -> Outcome:
    """What a worker would tell of a task, by weights of this version."""
    common = {"index": index, "env": "sums", "task_id": f"sums/{index}", "num_attempts": GROUP}
    if index % PASSES:
        reason = Reason.TOO_HARD_EARLY
        return Outcome(**common, reason=reason, pass_rate=0.0, num_sampled=900)
    rng = np.random.default_rng(index)
    figures = np.zeros((len(FIGURES), GROUP))
    figures[ROW["total"]] = figures[ROW["task"]] = rng.integers(0, 2, GROUP)
    figures[ROW["sampled"]] = rng.integers(20, 900, GROUP)
    figures[ROW["tokens"]] = figures[ROW["sampled"]] + 40
    figures[ROW["turns"]] = 1
    inputs = tuple(int(tokens) - 1 for tokens in figures[ROW["tokens"]])
    return Outcome(
        **common,
        pass_rate=0.5,
        num_sampled=int(figures[ROW["sampled"]].sum()),
        oldest_version=version,
        figures=figures,
        worth=Worth(
            advantages=tuple(rng.normal(size=GROUP).tolist()),
            attempts=tuple(range(GROUP)),
            num_inputs=inputs,
            num_shared=40,
            num_sampled=int(figures[ROW["sampled"]].sum()),
        ),
        place=Place(store=f"store-{index % 250}", key=f"{index:032x}", num_bytes=10**6),
    )


@dataclass
class Workers:
    """So many workers that answer; `spent_s` is theirs and not the driver's."""

    names: list[str]
    spent_s: float = 0.0
    open: dict[int, str] = field(default_factory=dict)
    most_open: int = 0
    version: int = 0

    def __post_init__(self) -> None:
        self.dealer = Dealer(self.names)

    def assign(self, tasks: Sequence[tuple[int, int]]) -> None:
        """Deal them out, and pack them as they would go to the workers."""
        dealt: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for task in tasks:
            dealt[self.dealer.deal()].append(task)
        for name, items in dealt.items():
            pickle.dumps(items)
            self.open |= dict.fromkeys((index for index, _ in items), name)
        self.most_open = max(self.most_open, len(self.open))

    def next_outcomes(self, timeout_s: float) -> Sequence[Outcome]:  # noqa: ARG002 - a port
        """A batch of what is open, a reply a worker."""
        began = time.thread_time()
        replies: defaultdict[str, list[Outcome]] = defaultdict(list)
        for index, name in zip(self.open, self.open.values(), strict=True):
            replies[name].append(outcome(index, self.version))
            if sum(map(len, replies.values())) >= AT_ONCE or len(replies) > AT_ONCE:
                break
        told = [(name, pickle.dumps(of)) for name, of in replies.items()]
        self.spent_s += time.thread_time() - began
        found: list[Outcome] = []
        for name, reply in told:
            for one in pickle.loads(reply):
                del self.open[one.index]
                self.dealer.back(name)
                found.append(one)
        return found

    def lost(self, groups: Sequence[Outcome]) -> Sequence[Outcome]:  # noqa: ARG002 - a port
        """None."""
        return []

    def forget(self, groups: Sequence[Outcome]) -> None:
        """Nothing is held."""


class Learner:
    """Shares a step out among its ranks, as the pool does, and is done."""

    def step(self, groups: Sequence[Outcome], *, clip: Clip) -> StepReport:  # noqa: ARG002 - a port
        """One step."""
        for share in shares(groups, RANKS):
            pickle.dumps(share)
        return StepReport(metrics={}, entropy=1.0)


@dataclass
class Run:
    """Keeps the last state as a checkpoint does, and may ask for an end."""

    until: int
    saved: str = ""
    steps: int = 0

    def should_stop(self) -> bool:
        """Half-way."""
        return self.steps >= self.until

    def draft(self, state: ClimbState, groups: Sequence[Outcome]) -> None:
        """The nodes' work."""

    def record(self, state: ClimbState, groups: Sequence[Outcome]) -> None:
        """Likewise."""

    def evaluate(self, state: ClimbState) -> Mapping[str, float]:  # noqa: ARG002 - a port
        """None is due."""
        return {}

    def log(self, state: ClimbState, metrics: Mapping[str, float]) -> None:  # noqa: ARG002 - a port
        """Count."""
        self.steps = state.step

    def save_if_due(self, state: ClimbState) -> None:
        """Now and then."""
        if state.step % EVERY == 0:
            self.save(state)

    def save(self, state: ClimbState) -> None:
        """As into a checkpoint."""
        self.saved = state.to_json()


@dataclass
class Publisher:
    """Has nothing to send but the number."""

    workers: Workers

    def publish(self, version: int) -> Mapping[str, float]:
        """No figures."""
        self.workers.version = version
        return {}


def configured(options: argparse.Namespace) -> ClimbConfig:
    """A climb with so many tasks in flight."""
    workers = options.workers
    return ClimbConfig.model_validate(
        {
            "num_steps": 10**9,
            "num_tasks": options.outcomes,
            "batch": {"num_groups": options.groups},
            "rollout": {
                "workers": workers,
                "groups_in_flight": options.in_flight // workers,
                "group_size": GROUP,
            },
            "sync": {"every_steps": 1, "max_staleness": 8},
            "checkpoint": {"every_steps": EVERY},
        }
    )


def climbed(
    config: ClimbConfig, state: ClimbState, path: Path, workers: Workers, until: int
) -> str:
    """Climb until so many steps are taken or no task is left; the last state, as it is saved."""
    journal, run = Journal(path), Run(until=until, steps=state.step)
    ledger = Ledger(config, state.cursor, journal, str, step=state.step)
    groups = OffPolicy(config, ledger, workers, state, run.should_stop)
    try:
        climb(config, state, groups, Learner(), Publisher(workers), run)
    finally:
        groups.close()
        journal.close()
    return run.saved


def main() -> int:
    """Measure; the status is 1 where a bound is missed or the journal does not add up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outcomes", type=int, default=10**6)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=10**5)
    parser.add_argument("--groups", type=int, default=1000, help="of a step")
    options = parser.parse_args()
    config, names = configured(options), [f"worker-{i}" for i in range(options.workers)]
    half = options.outcomes // PASSES // options.groups // 2
    with tempfile.TemporaryDirectory() as folder:
        path, first = Path(folder) / "journal.jsonl", ClimbState.first(config.clip)
        began, before = time.process_time(), Workers(names)
        saved = climbed(config, first, path, before, half)
        spent = time.process_time() - began - before.spent_s

        again = time.process_time()
        taken, state = audit(path), ClimbState.from_json(saved)
        under_way = len(state.cursor.pending)
        with_journal = Journal(path)
        with_journal.resumed(state.step)
        with_journal.close()
        resume_s = time.process_time() - again
        assert state.step == max(taken.trained.values())

        began, after = time.process_time(), Workers(names)
        climbed(config, replace(state), path, after, 10**9)
        spent += time.process_time() - began - after.spent_s
        found = audit(path)
        journal_mb = path.stat().st_size / 1e6
    whole = len(found.trained) + len(found.abandoned)
    clean = not found.trained_twice and not found.skipped and whole == options.outcomes
    figures = {
        "outcomes": options.outcomes,
        "most in flight": max(before.most_open, after.most_open),
        "under way at the cut": under_way,
        "us a task": round(1e6 * spent / options.outcomes, 1),
        "peak MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "resume s": round(resume_s, 2),
        "journal MB": round(journal_mb, 1),
        "audit clean": clean,
    }
    print(json.dumps(figures, indent=1))
    return int(not clean or any(figures[name] > most for name, most in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
