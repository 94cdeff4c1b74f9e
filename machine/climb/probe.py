"""A short climb of its own, watched: what a step takes here, in seconds, tokens and memory.

It is the very climb that was asked for, in a folder of its own that is thrown away: without
evaluations and checkpoints, for two steps at least (and from one weight update to the next), then
for about as long as it was given.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from munro.machine.climb.start import raw
from munro.machine.climb.watching import more, peaks
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.machine.run.folder import RunFolder
from munro.machine.run.metrics import MetricsLog

LEAST = 2
"""Steps."""
MOST = 5
"""Times the given seconds, after which a probe that has not got so far is given up."""
PULSE_S = 0.5
MUNRO = "from munro.machine.cli.main import main; main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was seen."""

    steps: int
    step_s: float
    """Of one, weights to the servers included."""
    rollout_tokens: float
    """Sampled in a step."""
    learner_tokens: float
    """Trained on in a step."""
    peaks: Mapping[str, int]
    """Bytes by kind of process."""


def probe(config: RunConfig, model: Path, seconds: float) -> Probe:
    """Climb for about that long.

    Raises:
        BadConfig: it did not come to as many steps as it takes; says why.
    """
    least = max(LEAST, config.sync.every_steps)
    with TemporaryDirectory(prefix="munro-probe-") as scratch:
        folder = Path(scratch)
        recipe = RunFolder(folder / "recipe")
        recipe.write_config(raw(shortened(config, model, folder)))
        with (folder / "said.txt").open("w") as told:
            process = subprocess.Popen(
                [sys.executable, "-c", MUNRO, "climb", str(recipe.config_file)],
                stdout=subprocess.DEVNULL,
                stderr=told,
                start_new_session=True,
            )
            try:
                seen = _watched(process, folder, least, seconds)
                failed = process.poll() not in (None, 0)
            finally:
                _end(process)
        rows = _rows(folder)
        said = (folder / "said.txt").read_text().strip().splitlines() if failed else []
    if len(rows) <= least:
        too_few = f"it took {max(0, len(rows) - 1)} steps in {MOST * seconds:g} s"
        why = said[-1].removeprefix("munro: ") if said else too_few
        raise BadConfig(f"the probe came to no figures: {why}")
    return _figures(usual(rows[1:], config.sync.every_steps), len(rows) - 1, seen)


def _watched(
    process: subprocess.Popen[bytes], folder: Path, least: int, seconds: float
) -> dict[str, int]:
    """Until it has taken long enough, or has ended: the peaks of its processes."""
    seen: dict[str, int] = {}
    began = 0.0
    while process.poll() is None:
        seen = more(seen, peaks(process.pid))
        rows = _rows(folder)
        began = began or (time.monotonic() if rows else 0.0)
        spent = time.monotonic() - began if began else 0.0
        if (len(rows) > least and spent > seconds) or spent > MOST * seconds:
            break
        time.sleep(PULSE_S)
    return seen


def shortened(config: RunConfig, model: Path, folder: Path) -> RunConfig:
    """The same climb, of few steps and leaving nothing behind."""
    every = config.sync.every_steps
    changes: dict[str, Any] = {
        "name": "probe",
        "folder": str(folder / "runs"),
        "num_steps": 1000 * every,
        "tracking": (),
        "model": type(config.model)(path=str(model)),
        "eval": config.eval.model_copy(update={"every_steps": 0}),
        "checkpoint": config.checkpoint.model_copy(update={"every_steps": 1000 * every}),
        "distill": config.distill.model_copy(update={"every": 0, "on": ()}),
    }
    return config.model_copy(update=changes)


def _rows(folder: Path) -> list[dict[str, Any]]:
    return MetricsLog(folder / "runs" / "probe" / "metrics.jsonl").read()


def usual(rows: Sequence[Mapping[str, Any]], every: int) -> Sequence[Mapping[str, Any]]:
    """Those of a climb's lines, from step 1 on, that stand for its steps in the long run.

    One wave of groups may serve several steps: so whole turns from one weight update to the next,
    and without the first, which waits longest, where there are others.
    """
    turns = len(rows) // every
    return rows[every if turns > 1 else 0 : turns * every]


def _figures(rows: Sequence[Mapping[str, Any]], steps: int, seen: Mapping[str, int]) -> Probe:
    def mean(name: str) -> float:
        return fmean(float(row.get(name) or 0.0) for row in rows)

    return Probe(
        steps=steps,
        step_s=mean("time/step"),
        rollout_tokens=mean("rollout/tokens"),
        learner_tokens=mean("learner/tokens"),
        peaks=dict(seen),
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it end everything that it has started, and insist after a while."""
    # the first asks it to stop after its step, the second to stop at once
    for number, within_s in ((signal.SIGINT, 1), (signal.SIGINT, 60), (signal.SIGKILL, 10)):
        if process.poll() is not None:
            return
        os.kill(process.pid, number)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            continue
