"""A climb loses a server by kill -9, and is given another with a node that joins.

A Ray cluster of one node without free CPUs, where `configs/quickstart.toml` climbs off-policy on
two servers of the engine "transformers", from a base taught for 120 steps and with open gates: what
it learns is no matter here. Then server-0's process is killed; once it is back, a node
with a free CPU is added, which Ray gives to server-2. When that has served for some updates the
climb is asked to stop, and what it left is looked at: nothing lost and nothing twice in the
journal, every token from a version that servers were to have.

    python benchmarks/scale/fleet.py --folder runs/fleet

Ends with one line of JSON. Its seconds are those of the machine and of whatever else runs there.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from munro.rl.control.journal import audit
from munro.rollout.store.store import RolloutStore
from munro.rollout.waits import read_waits

RECIPE = Path(__file__).parents[2] / "configs" / "quickstart.toml"
MUNRO = Path(sys.executable).with_name("munro")
OPTIONS = {
    "num_steps": 2000,
    "base.training.num_steps": 120,
    "rollout.early_pass_rate": "[0.0, 1.0]",
    "rollout.pass_rate": "[0.0, 1.0]",
    "rollout.engine": "transformers",
    "rollout.servers": 2,
    "rollout.max_servers": 3,
    "rollout.resume_partial": 4,
    "sync.every_steps": 2,
    "sync.max_staleness": 8,
    "eval.every_steps": 0,
    "checkpoint.every_steps": 50,
}


class Climb:
    """A climb's process, and what it says in its folder."""

    def __init__(self, address: str, folder: Path, more: list[str]) -> None:
        given = OPTIONS | {"ray.address": address, "folder": str(folder), "name": "fleet"}
        options = [word for key, value in given.items() for word in (f"--{key}", str(value))]
        self.path, self.began = folder / "fleet", time.monotonic()
        self._log = (folder / "climb.log").open("w")
        self._process = subprocess.Popen(
            [MUNRO, "climb", RECIPE, *options, *more],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def lines(self) -> list[dict[str, Any]]:
        """Its metrics."""
        try:
            text = (self.path / "metrics.jsonl").read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines()]

    def pid(self, process: str) -> int:
        """Of one of its processes; 0 where there is none."""
        return next((one.pid for one in read_waits(self.path) if one.process == process), 0)

    def until(self, what: str, see: Callable[[], object], most_s: float = 600.0) -> None:
        """Wait for something to be so."""
        end = time.monotonic() + most_s
        while not see():
            if self._process.poll() is not None:
                sys.exit(f"the climb ended ({self._process.returncode}) before {what}")
            if time.monotonic() > end:
                sys.exit(f"not within {most_s:.0f} s: {what}")
            time.sleep(0.2)
        print(f"{time.monotonic() - self.began:6.1f} s  {what}", flush=True)

    def steps(self) -> int:
        """Those that it has done."""
        return int(self.lines()[-1]["step"]) if self.lines() else 0

    def stop(self) -> int:
        """Ask it to end after its step, and wait; its exit status."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(timeout=300)


def main() -> None:
    """Climb, kill, add, stop, look."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--folder", type=Path, default=Path("runs/scale"))
    known, more = given.parse_known_args()
    known.folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    try:
        climb = Climb(cluster.address, known.folder.resolve(), more)
        watch(climb, cluster)
        status = climb.stop()
        print(f"{time.monotonic() - climb.began:6.1f} s  stopped, exit status {status}")
    finally:
        cluster.shutdown()
    print(json.dumps({"benchmark": "fleet", "status": status, **found(climb)}))


def watch(climb: Climb, cluster: Cluster) -> None:
    """What is done to it while it climbs."""
    climb.until("four steps are done", lambda: climb.steps() >= 4)
    first = climb.pid("server-0")
    os.kill(first, signal.SIGKILL)
    at = climb.steps()
    climb.until("a step more, after server-0 was killed", lambda: climb.steps() > at)
    climb.until("server-0 is another process", lambda: climb.pid("server-0") not in (0, first))
    climb.until("both serve", lambda: climb.lines()[-1].get("rollout/servers") == 2)
    cluster.add_node(num_cpus=1)
    climb.until("server-2 is there", lambda: climb.pid("server-2"))
    climb.until("three serve", lambda: climb.lines()[-1].get("rollout/servers") == 3)
    at = climb.steps()
    climb.until("six steps more", lambda: climb.steps() >= at + 6)


def found(climb: Climb) -> dict[str, Any]:
    """What it left."""
    lines = climb.lines()
    kept = audit(climb.path / "journal.jsonl")
    store, spans = RolloutStore(climb.path / "rollouts"), []
    for group in (group for step in store.steps() for group in store.read(step)):
        for attempt in group.attempts:
            versions = attempt.trajectory.versions[attempt.trajectory.sampled]
            spans.append((int(versions.min()), int(versions.max())))
    return {
        "steps": climb.steps(),
        "servers": [int(line.get("rollout/servers", 0)) for line in lines if line["step"]],
        "lost_tokens": sum(line.get("rollout/lost_tokens", 0) for line in lines),
        "servers_aside": sum(line.get("sync/servers_aside", 0) for line in lines),
        "worst_proof_nats": max(line.get("sync/proof", 0.0) for line in lines),
        "trained": len(kept.trained),
        "trained_twice": len(kept.trained_twice),
        "skipped": len(kept.skipped),
        "attempts": len(spans),
        "attempts_of_two_versions": sum(low < high for low, high in spans),
        "without_version": sum(low < 0 for low, _ in spans),
    }


if __name__ == "__main__":
    main()
