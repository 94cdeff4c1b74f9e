"""Sum against priorities against a gate: one climb three times, only the reward's tree differs.

The task of `configs/gated.toml`: sums, to be answered with the work shown. Brevity pulls the other
way, for an answer without its work is ten times as short. In the sum, brevity weighs four times as
much as either of the others; priorities and gates know no weights, so there is nothing to tune.

    python benchmarks/combining.py --folder runs/combining --out docs/combining.png

Three climbs of the size of `sums`: a quarter of an hour on 2 cores. Climbs that are
finished already are only read. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import tomli_w

from munro.envs.arithmetic import last_number
from munro.rollout.store.store import RolloutStore

RECIPE = Path(__file__).parents[1] / "configs" / "gated.toml"
TREES: dict[str, dict[str, Any]] = {
    "sum": {
        "kind": "sum",
        "parts": ["shows_work", "task", "brief"],
        "weights": [1.0, 1.0, 4.0],
    },
    "lexicographic": {"kind": "lexicographic", "parts": ["shows_work", "task", "brief"]},
    "gated": {
        "kind": "gated",
        "gate": "shows_work",
        "minimum": -1.0,
        "then": {"kind": "lexicographic", "parts": ["task", "brief"]},
    },
}
COLOURS = {"sum": "#c1483b", "lexicographic": "#3565a8", "gated": "#2f7d4f"}
MARK = "="
"""An answer shows its work if this stands in it, as the recipe's grader has it."""
EDGE = 3
"""Steps whose mean stands for the beginning and the end."""


def main() -> None:
    """Climb what is not climbed yet, then measure and draw."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=Path("runs/combining"))
    options.add_argument("--out", type=Path, default=Path("combining.png"))
    options.add_argument("--steps", type=int, default=0, help="as the recipe says, unless given")
    given = options.parse_args()

    curves = {name: measure(climb(name, given.folder, given.steps)) for name in TREES}
    draw(curves, given.out)
    ends: dict[str, dict[str, list[float]]] = {}
    print(f"{'':<14} {'shows its work':>18} {'right':>16} {'characters':>16}")
    for name, curve in curves.items():
        ends[name] = {key: edges(values) for key, values in curve.items()}
        row = (f"{first:.2f} -> {last:.2f}" for first, last in ends[name].values())
        print(f"{name:<14} " + " ".join(f"{cell:>17}" for cell in row))
    print(json.dumps({"benchmark": "combining", "ends": ends}))


def climb(name: str, folder: Path, steps: int) -> Path:
    """The run folder of one climb, run to its end."""
    recipe = tomllib.loads(RECIPE.read_text())
    recipe |= {"name": name, "folder": str(folder)}
    recipe["env"]["reward"] = TREES[name]
    if steps:
        recipe["num_steps"] = steps
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.toml"
    file.write_text(tomli_w.dumps(recipe))
    munro = Path(sys.executable).with_name("munro")
    subprocess.run([str(munro), "climb", str(file)], check=True)
    return folder / name


def measure(run: Path) -> dict[str, list[float]]:
    """Per step, over all stored attempts: share that shows its work, share right, characters."""
    found: dict[str, list[float]] = defaultdict(list)
    store = RolloutStore(run / "rollouts")
    for step in store.steps():
        rows = list(store.scan(["reply", "task"], steps=[step]))
        replies = [row["reply"].strip() for row in rows]
        answers = [str(json.loads(row["task"])["payload"]["answer"]) for row in rows]
        found["works"].append(fmean(MARK in reply for reply in replies))
        found["right"].append(
            fmean(
                last_number(reply) == answer for reply, answer in zip(replies, answers, strict=True)
            )
        )
        found["characters"].append(fmean(map(len, replies)))
    return found


def edges(values: list[float]) -> list[float]:
    """Means of the first and the last steps."""
    return [round(fmean(values[:EDGE]), 4), round(fmean(values[-EDGE:]), 4)]


def draw(curves: dict[str, dict[str, list[float]]], out: Path) -> None:
    """One panel for the gate, one for being right, one for the quality that tempts."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    titles = {
        "works": "Shows its work (the gate)",
        "right": "Is right",
        "characters": "Characters (fewer is the quality)",
    }
    figure, panels = pyplot.subplots(1, 3, figsize=(11, 3.4), constrained_layout=True)
    for panel, (key, title) in zip(panels, titles.items(), strict=True):
        for name, curve in curves.items():
            steps = range(1, len(curve[key]) + 1)
            panel.plot(steps, curve[key], color=COLOURS[name], label=name, linewidth=1.8)
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_xlabel("step", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
        panel.set_ylim(*((-0.02, 1.02) if key != "characters" else (0, None)))
    panels[2].legend(frameon=False, fontsize=9, loc="center right")
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main()
