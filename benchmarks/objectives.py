"""One climb with each objective: what the choice of loss, advantage, KL and rate does to it.

All start from the same small base model with the same seed, tasks and learning rate; a seed's
climbs differ in the keys that `OBJECTIVES` names and in nothing else. Half of all numbers are right
answers (`sides/entropy_climb.py`), so a climb can end with many of them or with a few; of seven
verdicts one is a whim, so that there is always something to learn, and nothing is above 6/7.

    python benchmarks/objectives.py [--seeds 0 1 2] [--steps 120] [--plot docs/objectives.png]
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sides.entropy_climb import Line, base, run

from munro.machine.report.picture import GREY, STYLE, smooth
from munro.rl.config import ClimbConfig

CONFIG: dict[str, Any] = {
    "rollout": {
        "engine": "transformers",
        "template": "plain",
        "group_size": 16,
        "num_early": 16,
        # a group without signal is counted, not sampled again: all climbs see as many tasks
        "early_pass_rate": (0.0, 1.0),
        "pass_rate": (0.0, 1.0),
        "top_p": 1.0,
    },
    "rewards": {"language_weight": 0.0, "length_weight": 0.0},
    "learner": {"learning_rate": 3e-4, "threads": 1},
    "batch": {"num_groups": 4},
    "sync": {"every_steps": 8, "max_staleness": 1, "proof_bound": 1e-3},
    "length": {"stages": (4,)},
    "checkpoint": {"every_steps": 10**6},
}
FIXED = {"widening_max": 0.0}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "report": {},
    "dapo": {
        "learner": {"loss": "dapo"},
        "clip": FIXED | {"eps": 0.2, "eps_high": 0.28},
    },
    "dr_grpo": {
        "learner": {"loss": "dr_grpo", "advantage": "dr_grpo", "tokens_per_sequence": 4},
        "clip": FIXED | {"eps": 0.2, "eps_high": 0.2},
    },
    "cispo": {
        "learner": {"loss": "cispo"},
        "clip": FIXED | {"eps": 0.999, "eps_high": 4.0},
    },
    "gspo": {
        "learner": {"loss": "gspo"},
        # the paper's 3e-4 and 4e-4 are for thousands of tokens: the mean over four varies far more
        "clip": FIXED | {"eps": 0.03, "eps_high": 0.04},
    },
    "report, KL 0.1": {"learner": {"kl_weight": 0.1}},
    "report, warm-up and cosine": {
        "learner": {"schedule": {"shape": "cosine", "warmup_steps": 8}},
    },
}
"""By name, the keys that it sets otherwise."""
COLOURS = ("#1f6fb4", "#d9822b", "#2a9d6f", "#b0418a", "#7a5cc0", "#5f7d8c", "#9c7a3c")
MOODY = 1 / 7
"""Share of verdicts that say the opposite."""
HIGH = 0.8
"""A pass rate that counts as having climbed."""


def config(name: str, num_steps: int) -> ClimbConfig:
    """The config of one climb."""
    keys = OBJECTIVES[name]
    own = {table: {**CONFIG.get(table, {}), **values} for table, values in keys.items()}
    return ClimbConfig.model_validate({**CONFIG, **own, "num_steps": num_steps})


def measured(lines: Sequence[Line], metric: str) -> list[float]:
    """A figure of the steps that trained on anything: groups may all agree, more so at the end."""
    return [line[metric] for line in lines if metric in line]


def verdict(lines: Sequence[Line]) -> dict[str, float]:
    """What is told of a climb: of its last quarter, but for the step at which it was up."""
    last = lines[-len(lines) // 4 :]
    rates = smooth([line["pass_rate/trained"] for line in lines])
    up = next((line["step"] for line, rate in zip(lines, rates, strict=True) if rate >= HIGH), None)
    return {
        "pass rate": statistics.fmean(line["pass_rate/trained"] for line in last),
        "entropy": statistics.fmean(measured(last, "policy/entropy")),
        "clipped": statistics.fmean(
            low + high
            for low, high in zip(
                measured(lines, "clip/low"), measured(lines, "clip/high"), strict=True
            )
        ),
        "up at": float(up) if up is not None else float("nan"),
    }


FORMS = {"pass rate": ".3f", "up at": ".0f", "entropy": ".3f", "clipped": ".4f"}


def table(climbs: Mapping[tuple[str, int], Sequence[Line]]) -> str:
    """Markdown: a row an objective; the mean over seeds, and the seeds' range."""
    heads = ["objective", "pass rate", f"steps to {HIGH:g}", "entropy", "tokens clipped"]
    rows = [" | ".join(heads), " | ".join(["---"] * len(heads))]
    for name in dict.fromkeys(name for name, _ in climbs):
        found = [verdict(lines) for (one, _), lines in climbs.items() if one == name]
        cells = []
        for figure, form in FORMS.items():
            values = [one[figure] for one in found]
            low, high = format(min(values), form), format(max(values), form)
            if any(value != value for value in values):
                cells.append("not in all" if any(value == value for value in values) else "never")
            else:
                cells.append(f"{format(statistics.fmean(values), form)} ({low} to {high})")
        rows.append(" | ".join([name, *cells]))
    return "\n".join(f"| {row} |" for row in rows)


def plot(climbs: Mapping[tuple[str, int], Sequence[Line]], path: Path) -> None:
    """Pass rate above, entropy below: the mean over seeds thick, each seed thin."""
    # imported here, for it takes a second; the figure is made without pyplot's global state
    import matplotlib
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for name, _ in climbs))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 6.0), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True)
        top.axhline(1 - MOODY, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        for name, colour in zip(names, COLOURS, strict=False):
            seeds = [lines for (one, _), lines in climbs.items() if one == name]
            for axes, metric in ((top, "pass_rate/trained"), (bottom, "policy/entropy")):
                curves = [smooth([line.get(metric) for line in lines]) for lines in seeds]
                steps = [line["step"] for line in seeds[0]]
                for curve in curves:
                    axes.plot(steps, curve, color=colour, linewidth=0.5, alpha=0.35)
                mean = [
                    statistics.fmean([one for one in values if one == one] or [float("nan")])
                    for values in zip(*curves, strict=True)
                ]
                axes.plot(steps, mean, color=colour, linewidth=1.7, label=name)
        top.set(title="Pass rate; thick the mean over seeds, dashed the most there is to have")
        bottom.set(title="Entropy, nats per token", xlabel="optimizer step")
        top.margins(x=0)
        top.legend(frameon=False, loc="lower right", ncols=2)
        figure.savefig(path, dpi=160)


def main() -> int:
    """Climb with each objective and every seed, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--only", nargs="+", choices=list(OBJECTIVES), default=list(OBJECTIVES))
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    for path in (args.plot, args.json):
        if path and not path.absolute().parent.is_dir():
            parser.error(f"{path}: there is no folder {path.parent}. Make it, or name another.")
    if args.steps < 4:
        parser.error(f"--steps {args.steps}: give at least 4, for the last quarter is judged.")
    logging.disable(logging.WARNING)
    model = base(lambda line: print(line, flush=True))
    climbs: dict[tuple[str, int], list[Line]] = {}
    for seed in args.seeds:
        for name in args.only:
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                lines = run(
                    config(name, args.steps), model, seed, Path(folder), lambda _: None, moody=MOODY
                )
            climbs[name, seed] = lines
            told = "  ".join(f"{key} {verdict(lines)[key]:{form}}" for key, form in FORMS.items())
            print(f"seed {seed}  {name:<28}{told}  {time.monotonic() - began:.0f} s", flush=True)
    print(f"\n{table(climbs)}")
    if args.json:
        kept = {f"{name}, seed {seed}": lines for (name, seed), lines in climbs.items()}
        args.json.write_text(json.dumps(kept))
    if args.plot:
        plot(climbs, args.plot)
    climbed = [name for name, seed in climbs if verdict(climbs[name, seed])["pass rate"] >= HIGH]
    print(f"{len(climbed)} of {len(climbs)} climbs end at a pass rate of {HIGH:g} or more")
    return 0 if len(climbed) == len(climbs) else 1


if __name__ == "__main__":
    sys.exit(main())
