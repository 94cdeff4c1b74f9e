"""After a collapse: back to the last checkpoint before it, or distil onto the base and go on?

`configs/sums.toml` climbs for a while; then its learning rate is 30 times too high for some steps,
until its figures are out of bounds. From there three ways lead on, with the usual learning rate,
for the same number of steps:

    resume     go back to the last checkpoint from before the collapse was seen to begin
    hindsight  go back to the last checkpoint from before its cause, which nobody knows in time
    distil     self-distillation of the traces from before it was seen to begin, onto the base

All ways climb on the same tasks. What the distillation itself costs is told beside the result.

    python benchmarks/recovery.py --folder runs/recovery --out docs/recovery.png
    python benchmarks/recovery.py --quick

Three seeds; climbs that are finished already are only read. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from munro.machine.run.folder import RunFolder
from munro.machine.run.restarts import read_restarts
from munro.rl.collapse import Collapse, Watch
from munro.rl.config import CollapseConfig

RECIPE = Path(__file__).parents[1] / "configs" / "sums.toml"
MUNRO = Path(sys.executable).with_name("munro")
WAYS = ("resume", "hindsight", "distil")
COLOURS = {"resume": "#c1483b", "hindsight": "#d8a12a", "distil": "#3565a8"}
TIMES = 30
"""How many times too high the learning rate is, while it is."""
EDGE = 3
"""Last evaluations whose mean stands for the end."""
CLOSE = 0.02
"""Pass rates nearer than this count as the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes of the experiment."""

    healthy: int
    """Steps before the learning rate goes up."""
    provoked: int
    """Most steps for which it stays up."""
    after: int
    """Steps after the recovery, on either way."""
    every: int
    """Steps between evaluations afterwards."""
    more: tuple[str, ...]
    """Further options of every climb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way on from one collapse."""

    steps: list[int]
    """Since the recovery."""
    rates: list[float]
    """Held-out pass rate at these steps."""
    went_back_to: int
    """Step of the climb that it goes on from."""
    seconds: float
    """Of the recovery itself: the distillation; nothing for going back."""


def main() -> None:
    """Provoke, recover in every way, compare, draw."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=Path("runs/recovery"))
    options.add_argument("--out", type=Path, default=Path("recovery.png"))
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--engine", default="", help="as the recipe says, unless given")
    options.add_argument("--quick", action="store_true", help="one seed and few steps")
    given = options.parse_args()
    more = ("--rollout.engine", given.engine) if given.engine else ()
    plan = (
        Plan(healthy=8, provoked=8, after=8, every=4, more=more)
        if given.quick
        else Plan(healthy=16, provoked=12, after=20, every=4, more=more)
    )
    found: dict[int, dict[str, Way]] = {}
    before: dict[int, float] = {}
    for seed in range(1 if given.quick else given.seeds):
        collapsed, collapse = provoke(plan, seed, given.folder)
        if collapse is None:
            say(f"seed {seed}: no figure left its bounds, so there is nothing to recover from")
            continue
        before[seed] = best_before(collapsed, collapse)
        say(f"seed {seed}: {collapse.cause}, from step {collapse.began} on")
        found[seed] = {
            "resume": go_back(plan, seed, collapsed, "resume", collapse.began - 1),
            "hindsight": go_back(plan, seed, collapsed, "hindsight", plan.healthy),
            "distil": distil(plan, seed, collapsed, collapse),
        }
    if not found:
        sys.exit("no collapse was provoked: raise TIMES, or lower the bounds of CollapseConfig")
    draw(found, before, given.out)
    say(told(found, before))
    ends = {seed: {way: end(ways[way]) for way in WAYS} for seed, ways in found.items()}
    print(json.dumps({"benchmark": "recovery", "before": before, "ends": ends}))


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def climb(name: str, folder: Path, *options: object) -> int:
    """`munro climb` on the recipe; its exit status."""
    arguments = ["climb", RECIPE, "--name", name, "--folder", folder, "--force", *options]
    return subprocess.run([MUNRO, *map(str, arguments)], check=False).returncode


def provoke(plan: Plan, seed: int, folder: Path) -> tuple[RunFolder, Collapse | None]:
    """A climb that goes well and then badly, and what its figures say of it."""
    name = f"collapsed-{seed}"
    common = (
        "--seed", seed, "--checkpoint.every_steps", 1, "--checkpoint.keep", 1000,
        "--eval.every_steps", plan.healthy, *plan.more,
    )  # fmt: skip
    run = RunFolder(folder / name)
    is_new = not (run.path / "journal.jsonl").exists()
    if is_new and climb(name, folder, "--num_steps", plan.healthy, *common):
        sys.exit(f"{run.path}: the healthy part of the climb failed")
    if last_step(run) <= plan.healthy:
        rate = usual_rate(run) * TIMES
        steps = plan.healthy + plan.provoked
        # that it ends badly (no signal, no finite loss) is what is wanted here
        climb(name, folder, "--num_steps", steps, "--learner.learning_rate", rate, *common)
    return run, collapse_in(run, plan.healthy)


def usual_rate(run: RunFolder) -> float:
    """Learning rate that the healthy part was climbed with."""
    return float((run.read_config() or {})["learner"]["learning_rate"])


def last_step(run: RunFolder) -> int:
    """Of the metrics."""
    return max((int(line["step"]) for line in run.metrics.read()), default=0)


def collapse_in(run: RunFolder, healthy: int) -> Collapse | None:
    """The first collapse after the healthy steps, by the bounds that a climb watches."""
    config, watch = CollapseConfig(), Watch()
    for line in run.metrics.read():
        if not line["step"]:
            continue
        watch = watch.after({k: v for k, v in line.items() if isinstance(v, int | float)}, config)
        found = watch.found(line["step"], config)
        if found and line["step"] > healthy:
            return found
    info = run.read_info()
    if info is not None and info.cause:
        return watch.failed(info.cause).found(last_step(run), config)
    return None


def best_before(run: RunFolder, collapse: Collapse) -> float:
    """Held-out pass rate of the last evaluation before the collapse."""
    rates = [
        line["eval/pass_rate"]
        for line in run.metrics.read()
        if line["step"] < collapse.began and line.get("eval/pass_rate") is not None
    ]
    return float(rates[-1])


def copied(run: RunFolder, name: str, last: int) -> RunFolder:
    """The run as it was after step `last`, under another name."""
    there = run.path.with_name(name)
    # a report in the copy says that it has been climbed to its end
    shutil.copytree(run.path, there, ignore=shutil.ignore_patterns(".lock", "report.html"))
    copy = RunFolder(there)
    for step, folder in copy.list_checkpoints():
        if step > last:
            shutil.rmtree(folder)
    return copy


def go_back(plan: Plan, seed: int, collapsed: RunFolder, way: str, last: int) -> Way:
    """On from the checkpoint of step `last`."""
    name = f"{way}-{seed}"
    if not (collapsed.path.with_name(name) / "report.html").exists():
        shutil.rmtree(collapsed.path.with_name(name), ignore_errors=True)
        copied(collapsed, name, last)
        after(plan, seed, collapsed, name, last, on="[]")
    return curve(RunFolder(collapsed.path.with_name(name)), last, seconds=0.0)


def distil(plan: Plan, seed: int, collapsed: RunFolder, collapse: Collapse) -> Way:
    """From a distillation of what was sampled before the collapse began, onto the base."""
    last = max(step for step, _ in collapsed.list_checkpoints())
    name = f"distil-{seed}"
    path = collapsed.path.with_name(name)
    if not (path / "report.html").exists():
        shutil.rmtree(path, ignore_errors=True)
        copied(collapsed, name, last)
        # the state of that checkpoint says that it has collapsed: the climb begins by distilling
        after(plan, seed, collapsed, name, last, on='["collapse"]')
    run = RunFolder(path)
    made = read_restarts(run)
    if not made or made[0].last_step != collapse.began - 1:
        sys.exit(f"{path} did not distil the traces from before step {collapse.began}")
    return curve(run, last, seconds=seconds_of(path / made[0].checkpoint))


def seconds_of(checkpoint: Path) -> float:
    """What the distillation's training took."""
    line = json.loads((checkpoint / "metrics.jsonl").read_text().splitlines()[-1])
    return float(line["num_tokens"] / line["tokens_per_s"])


def after(plan: Plan, seed: int, collapsed: RunFolder, name: str, last: int, *, on: str) -> None:
    """Climb on for `plan.after` steps, and distil on these occasions alone."""
    status = climb(
        name, collapsed.path.parent, "--num_steps", last + plan.after, "--seed", seed,
        "--checkpoint.every_steps", 1000, "--eval.every_steps", plan.every,
        "--distill.on", on, *plan.more,
    )  # fmt: skip
    if status not in (0, 2):
        sys.exit(f"{name}: stopped")


def curve(run: RunFolder, last: int, *, seconds: float) -> Way:
    """Held-out pass rates after step `last`."""
    points = [
        (line["step"] - last, float(line["eval/pass_rate"]))
        for line in run.metrics.read()
        if line["step"] > last and line.get("eval/pass_rate") is not None
    ]
    steps, rates = [step for step, _ in points], [rate for _, rate in points]
    return Way(steps=steps, rates=rates, went_back_to=last, seconds=seconds)


def end(way: Way) -> float:
    """Mean of the last evaluations; 0 for a climb that did not get that far."""
    return round(fmean(way.rates[-EDGE:]), 4) if way.rates else 0.0


def told(found: dict[int, dict[str, Way]], before: dict[int, float]) -> str:
    """The table and what it says, whichever way it falls."""
    head = "".join(f"{way:>11}" for way in WAYS)
    lines = [f"{'seed':<6}{'before':>9}{head}{'distilling':>13}"]
    for seed, ways in found.items():
        ends = "".join(f"{end(ways[way]):>11.3f}" for way in WAYS)
        cost = f"{ways['distil'].seconds:>11.0f} s"
        lines.append(f"{seed:<6}{before[seed]:>9.3f}{ends}{cost}")
    return "\n".join([*lines, *(compared(found, way) for way in WAYS if way != "distil")])


def compared(found: dict[int, dict[str, Way]], way: str) -> str:
    """Self-distillation against this way of going back."""
    gaps = [end(ways["distil"]) - end(ways[way]) for ways in found.values()]
    wins = sum(gap >= CLOSE for gap in gaps)
    losses = sum(gap <= -CLOSE for gap in gaps)
    mean = fmean(gaps)
    best = (
        "ends alike with"
        if abs(mean) < CLOSE
        else f"ends {abs(mean):.3f} {'higher' if mean > 0 else 'lower'} than"
    )
    return (
        f"on average self-distillation {best} {way}: higher {wins}, lower {losses}, "
        f"alike {len(gaps) - wins - losses} of {len(gaps)} seeds"
    )


def draw(found: dict[int, dict[str, Way]], before: dict[int, float], out: Path) -> None:
    """Every way over the steps since the recovery: each seed thinly, the mean thickly."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(6.4, 4), constrained_layout=True)
    for way in WAYS:
        curves = [ways[way] for ways in found.values() if ways[way].rates]
        for each in curves:
            panel.plot(each.steps, each.rates, color=COLOURS[way], linewidth=0.8, alpha=0.4)
        if curves:
            # evaluated at other steps since the recovery from seed to seed
            steps = range(max(c.steps[0] for c in curves), min(c.steps[-1] for c in curves) + 1)
            lines = [np.interp(steps, each.steps, each.rates) for each in curves]
            panel.plot(steps, np.mean(lines, axis=0), color=COLOURS[way], linewidth=2.2, label=way)
    panel.axhline(
        fmean(before.values()), color="#7d858e", linewidth=0.9, linestyle=(0, (4, 3)),
        label="before the collapse",
    )  # fmt: skip
    panel.set(xlabel="steps since the recovery", ylim=(0, 1.02))
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set_title("Held-out pass rate after a collapse", fontsize=10, loc="left")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=9, loc="lower right")
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    main()
