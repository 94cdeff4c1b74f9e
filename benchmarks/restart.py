"""What a restart costs a climb: the recipe `sums` with a distillation in it, three seeds.

After the distillation onto the fresh base the climb should begin at 95% or more of the pass rate it
had, with its entropy at or above the target again, and go on to exceed it.

    python benchmarks/restart.py --folder runs/restart

A quarter of an hour on 2 cores; climbs that are finished already are only read. Ends with one line
of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from munro.machine.run.folder import RunFolder, Status
from munro.machine.run.restarts import read_restarts

RECIPE = Path(__file__).parents[1] / "configs" / "sums.toml"
SHARE = 0.95
SHORT = (
    # a few steps: passing replies are nearly all alike here, and more would leave no entropy
    "--distill.training.epochs", 1.5,
    "--distill.training.batch_rows", 16,
    "--distill.training.row_tokens", 64,
    # a sum has one answer: a policy that is right seven times in ten doubts about 0.1 nats a token
    "--clip.entropy_target", 0.05,
)  # fmt: skip


def main() -> None:
    """Climb what is not climbed yet, then print how every restart went."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=Path("runs/restart"))
    options.add_argument("--every", type=int, default=12, help="steps between distillations")
    options.add_argument("--steps", type=int, default=24)
    options.add_argument("--seeds", type=int, default=3)
    given, more = options.parse_known_args()
    rows = []
    for seed in range(given.seeds):
        run = climb(f"seed-{seed}", given.folder, seed, given.every, given.steps, more)
        rows += [{"seed": seed, **row} for row in restarts(run)]
    head = f"{'seed':<6}{'step':>5}{'before':>9}{'after':>8}{'end':>8}"
    print(f"{head}{'entropy before':>16}{'after':>8}")
    for row in rows:
        print(
            f"{row['seed']:<6}{row['step']:>5}{row['before']:>9.3f}{row['after']:>8.3f}"
            f"{row['end']:>8.3f}{row['entropy_before']:>16.3f}{row['entropy_after']:>8.3f}"
        )
    kept = sum(row["after"] >= SHARE * row["before"] for row in rows)
    restored = sum(row["entropy_after"] >= row["target"] for row in rows)
    exceeded = sum(row["end"] > row["before"] for row in rows)
    print(
        f"of {len(rows)} restarts {kept} began at {SHARE:.0%} or more of the held-out pass rate "
        f"before, {restored} with the entropy at or above its target, and {exceeded} exceeded it"
    )
    print(json.dumps({"benchmark": "restart", "restarts": rows}))


def climb(name: str, folder: Path, seed: int, every: int, steps: int, more: list[str]) -> RunFolder:
    """The run folder of one climb, run to its end."""
    run = RunFolder(folder / name)
    info = run.read_info()
    if info is None or info.status is not Status.FINISHED:
        munro = Path(sys.executable).with_name("munro")
        arguments = [
            "climb", RECIPE, "--name", name, "--folder", folder, "--seed", seed,
            "--num_steps", steps, "--distill.every", every, *SHORT, *more,
        ]  # fmt: skip
        subprocess.run([munro, *map(str, arguments)], check=True)
    return run


def restarts(run: RunFolder) -> list[dict[str, Any]]:
    """Each restart: held-out pass rates and sampling entropies before and after it."""
    lines = {line["step"]: line for line in run.metrics.read()}
    last = [line["eval/pass_rate"] for line in lines.values() if line.get("eval/pass_rate")][-1]
    target = (run.read_config() or {})["clip"]["entropy_target"]
    return [
        {
            "step": made.step,
            "before": lines[made.step]["eval/pass_rate"],
            "after": lines[made.step + 1]["restart/pass_rate"],
            "end": last,
            "entropy_before": lines[made.step]["policy/entropy"],
            "entropy_after": lines[made.step + 1]["policy/entropy"],
            "target": target,
        }
        for made in read_restarts(run)
    ]


if __name__ == "__main__":
    main()
