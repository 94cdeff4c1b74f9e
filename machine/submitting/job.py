"""`munro submit`: what is sent, and to whom."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from munro.machine.errors import BadConfig
from munro.machine.loading import load, overrides_of
from munro.machine.submitting import ray_job, slurm
from munro.machine.submitting.slurm import Slurm


def to_slurm(recipe: str, arguments: Sequence[str], asked: Slurm, *, dry_run: bool) -> str:
    """Send a climb to Slurm; what is printed.

    Args:
        recipe: as `munro climb` takes it.
        arguments: overrides, as typed.
        asked: of Slurm.
        dry_run: print the script and send nothing.

    Raises:
        BadConfig: the recipe is wrong, or the job cannot be sent.
    """
    config = load(recipe, overrides_of(arguments))
    climb = [str(Path(sys.executable).with_name("munro")), "climb", recipe, *arguments]
    text = slurm.script(climb, name=config.name, folder=Path.cwd(), slurm=asked)
    return text.rstrip() if dry_run else f"{text}\n{slurm.send(text)}"


def to_ray(recipe: str, arguments: Sequence[str], address: str, *, dry_run: bool) -> str:
    """Send a climb to a Ray cluster, with the working directory; what is printed.

    Raises:
        BadConfig: the recipe is wrong, the run would be lost with the job's folder, or the job
            cannot be sent.
    """
    config = load(recipe, overrides_of(arguments))
    if not Path(config.folder).is_absolute():
        raise BadConfig(
            f'folder = "{config.folder}" would lie in the job\'s own copy of this folder, which '
            "goes with the job: add --folder /a/folder/of/the/cluster"
        )
    climb = ["munro", "climb", recipe, *arguments, "--ray.address", "auto"]
    words = ray_job.command(climb, name=config.name, folder=Path.cwd(), address=address)
    return ray_job.shown(words) if dry_run else f"{ray_job.shown(words)}\n{ray_job.send(words)}"
