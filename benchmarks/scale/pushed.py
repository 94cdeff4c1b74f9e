"""Tasks through a driver and Ray: out to small actors, back as figures; tokens stay where they are.

    python benchmarks/scale/pushed.py [--workers 200] [--tasks 20000] [--in-flight 4000]

The hub and the stores are the machine's. A worker answers at once: it makes a group with arrays,
hands these to its node's store, as a problem worker does, and tells the driver the rest. Arrays
that reach the driver would be unpickled there, and every one that is, is counted.

    tasks/s        of the whole, which here shares its processors with all the workers
    driver us      processor time of the driver a task, Ray's threads in its process included
    payload bytes  that came to the driver; of those that lie with the nodes
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ["PYTHONPATH"] = sys.path[0]

import ray

from munro.envs.types import Ending, KeptTokens, Message, Task, Trajectory
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade
from munro.rollout import payload
from munro.rollout.cluster.actors import loaded
from munro.rollout.cluster.hub import Hub
from munro.rollout.cluster.outbox import Outbox
from munro.rollout.cluster.stores import Hands, Stores
from munro.rollout.types import Attempt, Group, Outcome, places_of

TOKENS, ATTEMPTS = 64, 4
LEAST_PER_S = 1000.0
AT_ONCE = 8
"""Workers that start side by side: Ray gives up those that take longer than a minute to begin."""


def group(index: int) -> Group:
    """Attempts with arrays of their own."""
    sampled = np.arange(TOKENS) > TOKENS // 4
    told = Trajectory(
        token_ids=np.full(TOKENS, index % 1000, np.int32),
        sampled=sampled,
        behaviour_logp=np.where(sampled, -1.0, 0.0).astype(np.float32),
        kept=KeptTokens.nothing(TOKENS),
        versions=np.where(sampled, 0, -1).astype(np.int32),
        ending=Ending.ANSWERED,
        messages=(Message(role="assistant", content="42"),),
        reply="42",
    )
    attempts = tuple(
        Attempt(
            trajectory=told,
            grade=Grade(reward=float(n % 2), passed=bool(n % 2)),
            reward=RewardBreakdown(task=float(n % 2), total=float(n % 2)),
        )
        for n in range(ATTEMPTS)
    )
    task = Task(id=f"{index}", prompt="?", env="clock")
    return Group(index=index, task=task, attempts=attempts, early_pass_rate=0.5)


class Worker:
    """Answers at once, by the protocol of a problem worker."""

    def __init__(self, known: dict[str, str]) -> None:
        self._hands = Hands(known)
        self._outbox: Outbox[Outcome] = Outbox()

    async def ready(self) -> None:
        """It is up."""
        loaded()

    async def assign(self, items: Sequence[tuple[int, int]], version: int) -> None:  # noqa: ARG002
        """Make what is asked for, all at once."""
        for index, _ in items:
            self._outbox.begin(self._hands.tell(group(index), None))

    async def next_outcomes(self, pause_s: float) -> list[Outcome]:
        """What is done."""
        return await self._outbox.take(pause_s)


def counted() -> list[int]:
    """A list that grows by the bytes of every group's arrays that this process unpickles."""
    found: list[int] = []
    restore = payload.Columns.__setstate__

    def note(self: payload.Columns, state: Any) -> None:
        restore(self, state)
        found.append(self.num_bytes)

    payload.Columns.__setstate__ = note
    return found


def main() -> int:
    """Measure; the status is 1 where a bound is missed or a task is lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--in-flight", type=int, default=4000)
    options = parser.parse_args()
    in_driver = counted()
    ray.init("local", num_cpus=options.workers, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as run:
        stores = Stores(run, keep_dropped=0, deadline_s=600)
        actor = ray.remote(Worker).options(num_cpus=0, max_concurrency=1000)
        actors = {}
        for first in range(0, options.workers, AT_ONCE):
            names = [f"w{n}" for n in range(first, min(first + AT_ONCE, options.workers))]
            actors |= {name: actor.remote(stores.known_as) for name in names}
            ray.get([actors[name].ready.remote() for name in names])
        hub = Hub(actors, lambda: 0, lambda outcomes: stores.forget(places_of(outcomes)))
        came: dict[int, int] = {}
        began, cpu = time.monotonic(), time.process_time()
        out = back = held = 0
        while back < options.tasks:
            more = min(options.in_flight - (out - back), options.tasks - out)
            hub.assign((index, 8) for index in range(out, out + more))
            out += more
            outcomes = hub.next_outcomes(timeout_s=1)
            for one in outcomes:
                came[one.index] = came.get(one.index, 0) + 1
                held += one.place.num_bytes if one.place else 0
            back += len(outcomes)
            stores.forget(places_of(outcomes))
        seconds, spent = time.monotonic() - began, time.process_time() - cpu
        figures = {
            "workers": options.workers,
            "tasks": back,
            "tasks/s": round(back / seconds, 1),
            "driver us a task": round(1e6 * spent / back, 1),
            "payload bytes in the driver": sum(in_driver) + stores.payload_bytes,
            "payload bytes with the nodes": held,
            "once each": len(came) == options.tasks and set(came.values()) == {1},
        }
        stores.close()
    ray.shutdown()
    print(json.dumps(figures, indent=1))
    bad = figures["payload bytes in the driver"] or not figures["once each"]
    return int(bool(bad) or figures["tasks/s"] < LEAST_PER_S)


if __name__ == "__main__":
    sys.exit(main())
