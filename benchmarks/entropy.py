"""One climb whose plain clip loses its entropy, and the same climb with the adaptive clip.

Both climbs start from the same small base model, with the same seed and the same config, save for
`clip.widening_max`: 0 leaves the trusted ratios at [1 - eps, 1 / (1 - eps)], symmetric in their
logarithm; above, the controller opens the upper bound while the entropy is under its target. The
report's Fig. 13 in small (MAI-Thinking-1 report, section 3.1.1).

    python benchmarks/entropy.py [--seeds 0 1 2] [--plot docs/entropy.png] [--json FILE]
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

from munro.machine.report.picture import BLUE, GREY, ORANGE, STYLE, smooth
from munro.rl.config import ClimbConfig

BOUND = 0.1
"""Nats per token within which the controller must hold the entropy."""
PLAIN, ADAPTIVE = "plain clip", "adaptive clip"
CONFIG: dict[str, Any] = {
    "rollout": {
        "engine": "transformers",
        "template": "plain",
        "group_size": 16,
        "num_early": 16,
        "early_pass_rate": (0.01, 0.99),
        "pass_rate": (0.01, 0.99),
        "top_p": 1.0,
    },
    "rewards": {"language_weight": 0.0, "length_weight": 0.0},
    "learner": {"learning_rate": 5e-4, "threads": 1},
    "clip": {"eps": 0.04, "entropy_target": 1.35, "entropy_step": 0.25},
    "batch": {"num_groups": 4},
    "sync": {"every_steps": 16, "max_staleness": 1, "proof_bound": 1e-3},
    "length": {"stages": (4,)},
    "checkpoint": {"every_steps": 10**6},
}
WIDENING = {PLAIN: 0.0, ADAPTIVE: 1.0}
"""k_max of each climb."""


def config(name: str, num_steps: int) -> ClimbConfig:
    """The config of one of the two climbs."""
    clip = CONFIG["clip"] | {"widening_max": WIDENING[name]}
    return ClimbConfig.model_validate({**CONFIG, "clip": clip, "num_steps": num_steps})


SHOWN = {
    "policy/entropy": ("entropy", "9.3f"),
    "policy/k": ("k", "7.2f"),
    "pass_rate/sampled": ("pass rate", "11.3f"),
    "clip/low": ("clipped low", "13.4f"),
    "clip/high": ("high", "9.4f"),
    "policy/mismatch_kl": ("KL from sampler", "17.4f"),
}
"""What a printed line says, each a mean over the steps since the last one."""


def mean(lines: Sequence[Line], metric: str) -> float:
    """Over the steps that have it: a step on which nothing was sampled has no rate of it."""
    return statistics.fmean(line[metric] for line in lines if metric in line)


def climb_and_tell(name: str, model: Path, seed: int, num_steps: int, every: int) -> list[Line]:
    """One climb, told every so many steps."""
    print(f"\n{name}, k_max = {WIDENING[name]:g}, seed {seed}")
    heads = (f"{head:>{form.partition('.')[0]}}" for head, form in SHOWN.values())
    print(f"{'step':>6}{''.join(heads)}{'seconds':>9}")
    began = time.monotonic()
    since: list[Line] = []

    def note(line: Line) -> None:
        since.append(line)
        if line["step"] % every == 0:
            means = (format(mean(since, metric), form) for metric, (_, form) in SHOWN.items())
            print(
                f"{line['step']:>6.0f}{''.join(means)}{time.monotonic() - began:>9.0f}", flush=True
            )
            since.clear()

    with tempfile.TemporaryDirectory() as folder:
        lines: list[Line] = run(config(name, num_steps), model, seed, Path(folder), note)
    return lines


def verdict(lines: Sequence[Line]) -> dict[str, float]:
    """What the last third of a climb says."""
    target = float(CONFIG["clip"]["entropy_target"])
    last = lines[-len(lines) // 3 :]
    return {
        "distance": statistics.fmean(abs(line["policy/entropy"] - target) for line in last),
        "entropy": mean(last, "policy/entropy"),
        "pass_rate": mean(last, "pass_rate/sampled"),
    }


def judge(name: str, seed: int, lines: Sequence[Line]) -> bool:
    """Say whether a climb did what it is here to show."""
    target = float(CONFIG["clip"]["entropy_target"])
    found = verdict(lines)
    if name == PLAIN:
        passed = found["entropy"] < target - BOUND
        wanted = f"lost: mean H under {target - BOUND:g}"
    else:
        passed = found["distance"] < BOUND
        wanted = f"held: mean |H - H*| under {BOUND:g}"
    print(
        f"{name}, seed {seed}, last third: mean |H - H*| = {found['distance']:.3f}, mean H = "
        f"{found['entropy']:.3f}, pass rate {found['pass_rate']:.3f} "
        f"({wanted}) {'PASS' if passed else 'FAIL'}"
    )
    return passed


def plot(climbs: Mapping[tuple[str, int], Sequence[Line]], path: Path) -> None:
    """Entropy against its target, and k below it; the first seed thick, others thin."""
    # imported here, for it takes a second; the figure is made without pyplot's global state
    import matplotlib
    from matplotlib.figure import Figure

    target = float(CONFIG["clip"]["entropy_target"])
    first = next(iter(climbs))[1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        top.axhspan(target - BOUND, target + BOUND, color=GREY, alpha=0.12, linewidth=0)
        top.axhline(target, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        for (name, seed), lines in climbs.items():
            steps = [line["step"] for line in lines]
            entropy = [line["policy/entropy"] for line in lines]
            widening = [line["policy/k"] for line in lines]
            style = {
                "color": ORANGE if name == PLAIN else BLUE,
                "linewidth": 1.8 if seed == first else 0.8,
                "alpha": 1.0 if seed == first else 0.5,
                "label": f"{name}, k ≤ {WIDENING[name]:g}" if seed == first else None,
            }
            if seed == first:
                top.plot(steps, entropy, color=style["color"], linewidth=0.6, alpha=0.3)
            top.plot(steps, smooth(entropy), **style)
            bottom.plot(steps, widening, **style)
        top.set(title="Entropy, nats per token; dashed its target, shaded the target ± 0.1")
        top.set_ylim(bottom=0)
        top.margins(x=0)
        top.legend(frameon=False, loc="upper right")
        bottom.set(title="k, widening of the upper clip", xlabel="optimizer step")
        figure.savefig(path, dpi=160)


def main() -> None:
    """Both climbs for every seed, both curves, the picture, and the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--every", type=int, default=100, help="steps between printed lines")
    parser.add_argument("--plot", type=Path, help="draw the curves into this file")
    parser.add_argument("--json", type=Path, help="write every step's figures to this file")
    options = parser.parse_args()
    for path in (options.plot, options.json):
        if path and not path.absolute().parent.is_dir():
            parser.error(f"{path}: there is no folder {path.parent}. Make it, or name another.")
    if options.steps < 3:
        parser.error(f"--steps {options.steps}: give at least 3, for the last third is judged.")
    logging.disable(logging.WARNING)

    model = base(lambda line: print(line, flush=True))
    climbs = {
        (name, seed): climb_and_tell(name, model, seed, options.steps, options.every)
        for seed in options.seeds
        for name in (PLAIN, ADAPTIVE)
    }
    if options.plot:
        plot(climbs, options.plot)
    if options.json:
        figures = {f"{name}, seed {seed}": lines for (name, seed), lines in climbs.items()}
        options.json.write_text(json.dumps({"config": CONFIG, "climbs": figures}))
    print()
    passed = [judge(name, seed, lines) for (name, seed), lines in climbs.items()]
    if not all(passed):
        sys.exit(1)


if __name__ == "__main__":
    main()
