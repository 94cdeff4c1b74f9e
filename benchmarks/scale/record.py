"""Record small climbs of our own with two servers, for the simulator to be held against.

    python -m benchmarks.scale.record tests/machine/planning/recorded.json

Three climbs that differ in the groups that are in flight. By the last the simulator is told what a
token takes; the others it has to foresee (tests/machine/planning/test_recorded.py). The engine in
plain PyTorch computes one call of four attempts after another, so a server has four slots.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from munro.machine.run.metrics import MetricsLog
from munro.rollout.store.store import RolloutStore

DEPTHS = (4, 8, 16)
STEPS, WARM_UP = 36, 8
NUM_GROUPS, GROUP, EARLY, EVERY = 4, 8, 4, 2
MUNRO = "import sys; from munro.machine.cli.main import main; sys.exit(main())"


def options(depth: int, folder: Path) -> dict[str, Any]:
    """A climb that learns nothing, so that its answers stay as long as they are."""
    return {
        "folder": folder, "name": f"depth-{depth}", "num_steps": STEPS,
        "rollout.engine": "transformers", "rollout.servers": 2,
        "rollout.groups_in_flight": depth, "rollout.group_size": GROUP, "rollout.num_early": EARLY,
        "rollout.early_pass_rate": "[0.0, 1.0]", "rollout.pass_rate": "[0.0, 1.0]",
        "rollout.top_p": 1.0, "batch.num_groups": NUM_GROUPS, "sync.every_steps": EVERY,
        "sync.max_staleness": 8, "sync.proof_bound": 1.0, "learner.learning_rate": 1e-12,
        "eval.every_steps": 0, "checkpoint.every_steps": 1000, "distill.every": 0,
        "base.training.num_steps": 40,
    }  # fmt: skip


def climbed(depth: int, folder: Path) -> dict[str, Any]:
    """What one of them came to, its first steps left out."""
    words = [f"--{key}={value}" for key, value in options(depth, folder).items()]
    subprocess.run([sys.executable, "-c", MUNRO, "climb", "sums", *words], check=True)
    run = folder / f"depth-{depth}"
    rows = [row for row in MetricsLog(run / "metrics.jsonl").read() if row["step"] > WARM_UP]
    columns = ["step", "num_sampled", "seconds"]
    attempts = [
        row
        for row in RolloutStore(run / "rollouts").scan(columns)
        if row["step"] >= WARM_UP
    ]  # fmt: skip
    return {
        "in_flight": depth,
        "steps": len(rows),
        "step_s": fmean(row["time/step"] for row in rows),
        "train_s": fmean(row["time/train"] for row in rows),
        # the shortest: others wait for replies to end
        "sync_s": min(row["time/sync"] for row in rows if row["step"] % EVERY == 0),
        "staleness": fmean(row["staleness/mean"] for row in rows),
        "generate_s": fmean(json.loads(row["seconds"])["generate"] for row in attempts),
        "lengths": [row["num_sampled"] for row in attempts],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        found = [climbed(depth, Path(scratch)) for depth in DEPTHS]
    how = {"num_groups": NUM_GROUPS, "every_steps": EVERY, "num_early": EARLY,
           "num_later": GROUP - EARLY, "servers": 2}  # fmt: skip
    Path(sys.argv[1]).write_text(json.dumps({"how": how, "climbs": found}) + "\n")
    for one in found:
        print({key: value for key, value in one.items() if key != "lengths"})
