"""What `--dry-run` says a climb will need, against what it then needs.

    python benchmarks/dry_run.py quickstart --steps 160
    python benchmarks/smollm2.py models/smollm2 && python benchmarks/dry_run.py smollm2 --steps 6

Three columns of memory: reckoned from the model's files and the config alone (`--dry-run`), seen in
a climb of a minute (`--dry-run --probe`), and seen in the climb itself. Memory is each process's
VmHWM, the peak of its resident set, the largest process of a kind. A step's time is the mean.
Exits with 1 where memory is off by more than 15% or the time by more than 30%.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from munro.base_model.small.quickstart import build_base
from munro.envs.arithmetic import is_held_out
from munro.envs.problem_set import ProblemSet
from munro.machine.climb.memory import needs_of
from munro.machine.climb.origin import as_climbed
from munro.machine.climb.probe import MUNRO, probe, usual
from munro.machine.climb.sizes import gpus_here, grown, loaded, model_of
from munro.machine.climb.watching import more, peaks
from munro.machine.config import RunConfig
from munro.machine.loading import load, overrides_of
from munro.machine.run.metrics import MetricsLog

MEMORY, TIME = 0.15, 0.30
"""How far off an estimate may be."""


def model_folder(config: RunConfig) -> Path:
    """Where the climb begins."""
    if config.model.path:
        return Path(config.model.path).expanduser().absolute()
    return build_base(config.base, is_held_out=is_held_out).path


def reckoned(config: RunConfig, model: Path) -> dict[str, float]:
    """Bytes by kind of process, before anything is started."""
    task, environment = grown(lambda: ProblemSet(config.env, config.seed).task(0))
    seen = loaded(model, task, environment)
    needs = needs_of(
        config, model_of(model, config.learner.lora), loaded=seen, gpu_bytes=gpus_here()
    )
    return {need.name: need.host_bytes for need in needs}


def climbed(
    file: str, steps: int, every: int, folder: Path, more_keys: list[str]
) -> tuple[dict[str, int], float]:
    """Peaks by kind, and the mean seconds of the steps after the first weight update."""
    command = [sys.executable, "-c", MUNRO, "climb", file, "--folder", str(folder)]
    command += ["--name", "real", "--num_steps", str(steps), *more_keys]
    with (folder / "out.txt").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        seen: dict[str, int] = {}
        while process.poll() is None:
            seen = more(seen, peaks(process.pid))
            time.sleep(0.25)
    if process.returncode:
        raise SystemExit((folder / "out.txt").read_text()[-2000:])
    rows = usual(MetricsLog(folder / "real" / "metrics.jsonl").read()[1:], every)
    # an evaluation is not part of a step's time as the probe says it
    return seen, fmean(row["time/step"] - row.get("time/eval", 0.0) for row in rows)


def off(estimate: float, real: float) -> str:
    """By how much, in percent."""
    return f"{estimate / real - 1:+.0%}"


def table(
    before: Mapping[str, float],
    probed: Mapping[str, float],
    real: Mapping[str, float],
    step: tuple[float, float],
) -> tuple[str, bool]:
    """The table, and whether every estimate is within bounds."""
    lines = ["| process | reckoned | probed | real | reckoned off | probed off |", "|---|" * 1]
    lines[1] = "|" + "---|" * 6
    good = True
    for kind in before:
        a, b, c = before[kind], probed[kind], real[kind]
        lines.append(
            f"| {kind} | {a / 1e9:.2f} GB | {b / 1e9:.2f} GB | {c / 1e9:.2f} GB "
            f"| {off(a, c)} | {off(b, c)} |"
        )
        good &= abs(a / c - 1) <= MEMORY and abs(b / c - 1) <= MEMORY
    lines.append(f"| a step | | {step[0]:.2f} s | {step[1]:.2f} s | | {off(*step)} |")
    return "\n".join(lines), good and abs(step[0] / step[1] - 1) <= TIME


def main() -> None:
    """Read the command line, do it, print the table."""
    parser = argparse.ArgumentParser(description="--dry-run against what then happens")
    parser.add_argument("recipe")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the probe")
    given, rest = parser.parse_known_args()
    config = load(given.recipe, overrides_of(rest))
    config = as_climbed(config, None, print)
    model = model_folder(config)
    every = config.sync.every_steps
    before = reckoned(config, model)
    seen = probe(config, model, given.seconds)
    with TemporaryDirectory(prefix="munro-dry-run-") as folder:
        real, step_s = climbed(given.recipe, given.steps, every, Path(folder), rest)
    said, good = table(before, seen.peaks, real, (seen.step_s, step_s))
    print(f"{given.recipe}, {given.steps} steps, probe of {seen.steps}\n\n{said}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
