"""What the report found of self-distillation, looked for on the tiny model.

    python benchmarks/distill_ablations.py --folder runs/ablations     # three seeds
    python benchmarks/distill_ablations.py --quick                     # one

The sums climb once. Its traces are distilled onto its base in several ways that differ in
one thing each, all with as many traces as the first:

    reference       late, several checkpoints; any traces; passed; many prompts; dropout 0.15
    last only       traces of the last steps alone, as few as hold enough
    early           traces of the first quarter of the climb
    shortest        the shortest traces of each prompt
    few prompts     one prompt for twelve traces, so more traces of each
    no dropout      dropout 0
    with failed     passed or not

Each is measured by its held-out pass rate and its entropy, and by its pass rate after a few steps
of RL from there. A seed changes the draw of the traces, dropout, and the RL's sampling; the climb
that the traces are from is the same, so intervals say nothing of other climbs. Prints a table and
which of the report's orderings (MAI-Thinking-1 report, section 3.1.4) held; ends with one line of
JSON. What is in the folder already is only read.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from munro.base_model.checkpoint import Checkpoint
from munro.distill.config import DistillConfig
from munro.distill.distil import Source, distil
from munro.machine.loading import load
from munro.machine.run.folder import RunFolder
from munro.rollout.store.store import RolloutStore

RECIPE = Path(__file__).parents[1] / "configs" / "sums.toml"
MUNRO = Path(sys.executable).with_name("munro")
STUDENT_T = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}
"""95% quantiles by the number of seeds."""
REFERENCE = "reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Of the experiment."""

    climb_steps: int = 30
    traces: int = 200
    epochs: float = 3.0
    rl_steps: int = 6
    tasks: int = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One way with one seed."""

    distilled: float
    """Held-out pass rate after the distillation."""
    entropy: float
    """Nats per token of what it then samples in training."""
    climbed: float
    """Held-out pass rate after the RL that follows."""


def ways(steps: Sequence[int], sizes: Sizes) -> dict[str, tuple[dict[str, Any], tuple[int, int]]]:
    """Each way's settings and the steps that its traces are from."""
    late = (steps[len(steps) // 2], steps[-1])
    last = (steps[-max(len(steps) // 10, 1)], steps[-1])
    early = (steps[0], steps[max(len(steps) // 4 - 1, 0)])
    few = {"most_prompts": math.ceil(sizes.traces / 12)}
    return {
        REFERENCE: ({}, late),
        "last only": ({}, last),
        "early": ({}, early),
        "shortest": ({"select": {"choose": "shortest"}}, late),
        "few prompts": ({"select": few}, late),
        "no dropout": ({"training": {"dropout": 0.0}}, late),
        "with failed": ({"select": {"outcomes": "all"}}, late),
    }


def settings(changes: dict[str, Any], sizes: Sizes, seed: int) -> DistillConfig:
    """The recipe's own distillation with these sizes, and one thing changed."""
    own = load(str(RECIPE)).distill
    table = {key: getattr(own, key) for key in DistillConfig.model_fields}
    table |= {
        "select": {"most_traces": sizes.traces, "seed": seed} | changes.get("select", {}),
        "filters": {"duplicates": False},
        "training": own.training.model_dump()
        | {"epochs": sizes.epochs, "seed": seed}
        | changes.get("training", {}),
    }
    return DistillConfig.model_validate(table)


def climb(name: str, folder: Path, *more: str) -> RunFolder:
    """A climb of `sums`, made unless it is there."""
    command = [str(MUNRO), "climb", str(RECIPE), "--name", name, "--folder", str(folder), *more]
    with (folder / f"{name}.log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    return RunFolder.existing(folder / name)


def measure(
    run: RunFolder, base: Path, way: str, seed: int, folder: Path, sizes: Sizes
) -> Measured:
    """Distil one way, then climb a little from there."""
    changes, (first, last) = ways(RolloutStore(run.rollouts).steps(), sizes)[way]
    name = f"{way.replace(' ', '-')}-{seed}"
    source = Source(run=run.path, name="sums", first_step=first, last_step=last)
    out = folder / "models" / name
    distil([source], base, out, settings(changes, sizes, seed))
    after = climb(
        name, folder, "--model", str(out), "--num_steps", str(sizes.rl_steps), "--seed", str(seed),
        "--rollout.engine", "transformers", "--eval.every_steps", str(sizes.rl_steps),
        "--eval.num_tasks", str(sizes.tasks),
    )  # fmt: skip
    rows = after.metrics.read()
    rates = [float(row["eval/pass_rate"]) for row in rows if "eval/pass_rate" in row]
    entropies = [float(row["policy/entropy"]) for row in rows if "policy/entropy" in row]
    return Measured(distilled=rates[0], entropy=entropies[0], climbed=rates[-1])


def interval(figures: Sequence[float]) -> float:
    """Half of the mean's 95% interval; 0 for one figure."""
    if len(figures) < 2:
        return 0.0
    return STUDENT_T[len(figures)] * stdev(figures) / math.sqrt(len(figures))


ORDERINGS = (
    ("several late checkpoints, not the last alone, for RL afterwards", "last only", "climbed"),
    ("late traces, not very early ones", "early", "distilled"),
    ("any traces, not the shortest", "shortest", "distilled"),
    ("more prompts, not more traces of each", "few prompts", "distilled"),
    ("dropout raises entropy", "no dropout", "entropy"),
)
"""The report's claim, the way that it says is worse than the reference, and in what."""
MARGIN = 0.05
"""Pass rates nearer than this are about as good."""
ALIKE = ("failed traces included are about as good", "with failed", "distilled")


def verdicts(found: dict[str, list[Measured]]) -> list[tuple[str, str, float, float]]:
    """Claim, how it fared, mean difference to the reference and half its interval, by pairs."""
    told = []
    for claim, way, figure in (*ORDERINGS, ALIKE):
        pairs = zip(found[REFERENCE], found[way], strict=True)
        differences = [getattr(ours, figure) - getattr(theirs, figure) for ours, theirs in pairs]
        mean, half = fmean(differences), interval(differences)
        if len(differences) > 1 and abs(abs(mean) - (MARGIN if way == ALIKE[1] else 0)) <= half:
            fared = "undecided"
        elif way == ALIKE[1]:
            fared = "held" if abs(mean) < MARGIN else "did not hold"
        else:
            fared = "held" if mean > 0 else "did not hold"
        told.append((claim, fared, mean, half))
    return told


def show(found: dict[str, list[Measured]]) -> None:
    """The table and the verdicts."""
    figures = ("distilled", "entropy", "climbed")
    print(f"{'':<14}" + "".join(f"{name:>18}" for name in figures))
    for way, measured in found.items():
        cells = [[getattr(one, name) for one in measured] for name in figures]
        row = "".join(f"{fmean(cell):>10.3f} ±{interval(cell):5.3f} " for cell in cells)
        print(f"{way:<14}{row}")
    print()
    told = verdicts(found)
    for claim, fared, mean, half in told:
        print(f"{fared:<13} {claim}: {mean:+.3f} ±{half:.3f}")
    print(json.dumps({claim: [fared, round(mean, 4)] for claim, fared, mean, _ in told}))


def main() -> int:
    """Climb, distil in every way with every seed, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", default="runs/ablations")
    parser.add_argument("--run", default="", help="a finished climb of sums, instead of climbing")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one seed")
    given = parser.parse_args()
    folder = Path(given.folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    sizes = Sizes()
    run = (
        RunFolder.existing(given.run)
        if given.run
        else climb("teacher", folder, "--num_steps", str(sizes.climb_steps))
    )
    info = run.read_info()
    base = Checkpoint(Path(info.provenance["model"] if info else "")).require().path
    found: dict[str, list[Measured]] = {}
    for way in ways(RolloutStore(run.rollouts).steps(), sizes):
        for seed in range(1 if given.quick else given.seeds):
            measured = measure(run, base, way, seed, folder, sizes)
            found.setdefault(way, []).append(measured)
            print(f"{way} {seed}: {measured}", file=sys.stderr, flush=True)
    show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
