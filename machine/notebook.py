"""`munro.climb`: a climb from a notebook or a script, which goes on where the climb ends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from munro.machine.loading import load_with
from munro.machine.run.folder import RunFolder, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Climbed:
    """How a climb ended.

    Example:
        munro.climb("quickstart").metrics["eval/pass_rate"]  # 0.93
    """

    folder: Path
    """Of the run: `munro report FOLDER` makes its page anew."""
    status: Status
    """Finished, or stopped by an interrupt: the same call resumes."""
    step: int
    """Optimizer steps taken in all."""
    checkpoint: Path | None
    """The newest one, which transformers loads as it is."""
    report: Path
    """The page."""
    metrics: Mapping[str, Any] = field(repr=False)
    """The last value of every metric, held-out figures among them."""


def climb(
    recipe: str | Path, *, model: str | Path = "", force: bool = False, **overrides: Any
) -> Climbed:
    """Climb to `num_steps`, resuming what is there, as `munro climb` does.

    Processes are started for the climb and ended with it, whatever happens; an interrupt stops it
    after its step, a second one at once.

    Args:
        recipe: a TOML file, or the name of a recipe that comes with Munro.
        model: checkpoint folder or name on the hub to start from; the recipe's otherwise.
        force: resume although the config changed.
        overrides: keys of the recipe: `num_steps=10`, `learner={"learning_rate": 1e-4}`, which
            leaves the learner's other keys alone, or `**{"learner.learning_rate": 1e-4}`.

    Raises:
        BadConfig: a key is wrong, the run was begun with another config, or Ray runs already.
        Whatever else `munro climb` tells in one line: the class says `is_sentence`.

    Example:
        climb("quickstart", num_steps=10, name="trial")
    """
    # as the command does; too late where torch was imported before, and harmless then
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if model:
        overrides["model.path"] = model
    config = load_with(str(recipe), overrides)
    from munro.machine.climb.process import run_climb

    run_climb(config, force=force)
    run = RunFolder.existing(Path(config.folder) / config.name)
    info, newest = run.read_info(), run.newest_checkpoint()
    lines = run.metrics.read()
    assert info is not None
    return Climbed(
        folder=run.path,
        status=info.status,
        step=max((line["step"] for line in lines), default=0),
        checkpoint=newest[1] if newest else None,
        report=run.report,
        metrics={name: value for line in lines for name, value in line.items()},
    )
