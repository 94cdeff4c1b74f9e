"""The default climb with its entropy controller, and the same without it.

For every seed two runs of the command that a newcomer types: as the recipe has it, and with
`--clip.widening_max 0`, which keeps the clip symmetric. Prints the held-out pass rate, the entropy
over the last third against its target, and how many tokens the upper bound held; the report's
Fig. 13 on the quickstart (MAI-Thinking-1 report, section 3.1.1).

    python benchmarks/quickstart.py --runs DIR [--seeds 0 1 2] [--plot docs/quickstart.png]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from munro.machine.loading import load
from munro.machine.report.picture import BLUE, GREY, ORANGE, STYLE, smooth

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs" / "quickstart.toml"
ADAPTIVE, PLAIN = "controller", "plain clip"
ARMS: Mapping[str, Sequence[str]] = {ADAPTIVE: (), PLAIN: ("--clip.widening_max", "0")}
Line = dict[str, Any]


def climb(runs: Path, arm: str, seed: int) -> list[Line]:
    """Every step's figures of one run, which is gone on with where it stands already."""
    name = f"{arm.split(' ')[0]}-{seed}"
    command = [str(Path(sys.executable).with_name("munro")), "climb", str(RECIPE)]
    command += ["--name", name, "--seed", str(seed), *ARMS[arm]]
    began = time.monotonic()
    done = subprocess.run(command, cwd=runs, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    lines = (runs / "runs" / name / "metrics.jsonl").read_text().splitlines()
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return [json.loads(line) for line in lines]


def verdict(lines: Sequence[Line], target: float) -> dict[str, float]:
    """What a run ends with, and what its last third says of the entropy."""
    steps = [line for line in lines if "policy/entropy" in line]
    last = steps[-len(steps) // 3 :]
    held_out = [line["eval/pass_rate"] for line in lines if "eval/pass_rate" in line]
    return {
        "began": held_out[0],
        "ended": held_out[-1],
        "entropy": fmean(line["policy/entropy"] for line in last),
        "distance": fmean(abs(line["policy/entropy"] - target) for line in last),
        "clip_high": fmean(line["clip/high"] for line in last),
        "k": fmean(line["policy/k"] for line in last),
    }


def plot(climbs: Mapping[tuple[str, int], Sequence[Line]], target: float, path: Path) -> None:
    """Held-out pass rate, entropy against its target, k, and what the upper bound held."""
    import matplotlib
    from matplotlib.figure import Figure

    panels = {
        "eval/pass_rate": "Held-out pass rate",
        "policy/entropy": "Entropy, nats per token; dashed its target",
        "policy/k": "k, widening of the upper clip",
        "clip/high": "Share of tokens that the upper bound held",
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 6.4), layout="constrained")
        axes = figure.subplots(4, 1, sharex=True, height_ratios=(1.5, 2, 1, 1))
        axes[1].axhline(target, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        for (arm, seed), lines in climbs.items():
            first = seed == next(iter(climbs))[1]
            style = {"color": BLUE if arm == ADAPTIVE else ORANGE, "label": arm if first else None}
            style |= {"linewidth": 1.8 if first else 0.8, "alpha": 1.0 if first else 0.5}
            for axis, (key, title) in zip(axes, panels.items(), strict=True):
                steps = [line for line in lines if key in line]
                values = [line[key] for line in steps]
                shown = values if key in ("policy/k", "eval/pass_rate") else smooth(values)
                axis.plot([line["step"] for line in steps], shown, **style)
                axis.set(title=title)
                axis.set_ylim(bottom=0)
                axis.margins(x=0)
        axes[1].legend(frameon=False, loc="upper right")
        axes[-1].set(xlabel="optimizer step")
        figure.savefig(path, dpi=160)


def main() -> None:
    """Both arms of every seed, the table, the picture; exit 1 where the controller did not help."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--plot", type=Path, help="draw the curves into this file")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    target = load(str(RECIPE)).clip.entropy_target
    climbs = {(arm, seed): climb(options.runs, arm, seed) for seed in options.seeds for arm in ARMS}
    found = {f"{arm}, seed {seed}": verdict(lines, target) for (arm, seed), lines in climbs.items()}
    for name, figures in found.items():
        print(name, "  ".join(f"{key} {value:.4f}" for key, value in figures.items()))
    if options.plot:
        plot(climbs, target, options.plot)
    held = [
        found[f"{ADAPTIVE}, seed {seed}"]["distance"] < found[f"{PLAIN}, seed {seed}"]["distance"]
        for seed in options.seeds
    ]
    print(json.dumps({"benchmark": "quickstart", "target": target, "nearer": held, "runs": found}))
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
