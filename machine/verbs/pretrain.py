"""`munro pretrain`: the phases of a recipe, on one machine or as a rank of a launcher's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import psutil

from munro.base_model.training.inputs import missing
from munro.base_model.training.recipe import PretrainRecipe
from munro.machine.loading import BadConfig, load_as
from munro.machine.run.console import duration
from munro.machine.run.files import RunError
from munro.machine.run.lock import held_folder
from munro.machine.verbs.pretrain_plan import plan
from munro.machine.verbs.pretrain_ready import changed, not_ready

if TYPE_CHECKING:
    from munro.base_model.training.run_log import StepMetrics

LINES_OF_A_PHASE = 20
SHOWN = ("experts/violation/max", "speed/mfu", "evaluation/target")
NS = 1_000_000_000


def run_pretrain(
    file: str, out: str, overrides: Sequence[tuple[str, str]], *, dry_run: bool, force: bool
) -> int:
    """Train every phase that is not finished; print where the last checkpoint is.

    Returns:
        The process's exit status: 1 for a dry run that found something that would stop it.

    Raises:
        BadConfig: a key is wrong, what it names is not there, or the run in the folder was begun
            with another recipe.
        RunError: another process trains in the folder.
        Whatever `munro.base_model.training.phases.train` raises.
    """
    recipe = load_as(PretrainRecipe, file, overrides)
    folder = Path(out).expanduser() if out else Path(recipe.folder).expanduser() / recipe.name
    if dry_run:
        click.echo(plan(recipe, folder))
        found = not_ready(recipe, folder, force=force)
        for line in found:
            click.echo(f"not ready: {line}")
        return 1 if found else 0
    for line in (changed(recipe, folder) if not force else "", *missing(recipe)):
        if line:
            raise BadConfig(line)
    from munro.base_model.training.launch import launched
    from munro.base_model.training.phases import finished, train
    from munro.base_model.training.sharding import Ranks

    began = int(psutil.Process().create_time() * NS)
    if launched():
        world = Ranks(bfloat16=False)
        show = _Progress(recipe) if world.rank == 0 else None
        train(recipe, folder, on_metrics=show, began=began, world=world)
        return 0
    if finished(recipe, folder).exists:
        click.echo(f"nothing to do: {finished(recipe, folder).path} is there")
        return 0
    with held_folder(folder, "give another --out"):
        done = train(recipe, folder, on_metrics=_Progress(recipe), note=click.echo, began=began)
    click.echo(_goodput_table(recipe, folder))
    click.echo(f"wrote {done.path}")
    return 0


def run_goodput(run: str) -> int:
    """Print where the wall-clock of a pre-training or of a climb went.

    Raises:
        RunError: there is no such run.
    """
    from munro.base_model.training.goodput import LEDGER
    from munro.base_model.training.phases import RECIPE

    folder = Path(run).expanduser()
    if (folder / "run.json").is_file() and (folder / LEDGER).is_file():
        from munro.machine.run.goodput import read_climb

        click.echo(read_climb(folder / LEDGER).table())
        return 0
    if not (folder / RECIPE).is_file():
        raise RunError(
            f"There is no pre-training at {folder}: it has no {RECIPE}; nor a climb that has kept "
            f"its time: it has no {LEDGER}."
        )
    text = (folder / RECIPE).read_text(encoding="utf-8")
    click.echo(_goodput_table(PretrainRecipe.model_validate_json(text), folder))
    return 0


class _Progress:
    """Some lines a phase, whatever its length, and every evaluation."""

    def __init__(self, recipe: PretrainRecipe) -> None:
        self._recipe = recipe
        self._shown: tuple[str, int] = ("", -1)

    def __call__(self, phase: str, metrics: StepMetrics) -> None:
        portion = metrics.step * LINES_OF_A_PHASE // metrics.num_steps
        evaluated = "evaluation/target" in metrics.figures
        if (phase, portion) == self._shown and not evaluated:
            return
        self._shown = (phase, portion)
        parts = [
            f"{phase}  step {metrics.step}/{metrics.num_steps}",
            f"loss {metrics.loss:.3f}",
            f"{metrics.tokens_per_s:,.0f} tok/s",
        ]
        parts += [
            f"{key.removeprefix('experts/').replace('/', ' ')} {metrics.figures[key]:.3f}"
            for key in SHOWN
            if key in metrics.figures
        ]
        left = duration(metrics.seconds_left)
        click.echo("  ".join([*parts, *([f"{left} left"] if metrics.seconds_left else [])]))


def _goodput_table(recipe: PretrainRecipe, folder: Path) -> str:
    from munro.base_model.training.goodput import LEDGER, read_goodput

    ideal = {name: phase.ideal_step_s for name, phase in recipe.phase.items()}
    return read_goodput(folder / LEDGER, ideal_step_s=ideal).table()
