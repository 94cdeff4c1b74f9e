"""Commands about a model itself."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("source")
@click.argument("repo")
@click.option("--to", default="", help="Write everything into this folder, with no network.")
@click.option("--dry-run", is_flag=True, help="Show the card and the files; send nothing.")
@click.option("--private", is_flag=True, help="Make a new repository private.")
def push(source: str, repo: str, to: str, dry_run: bool, private: bool) -> None:
    """Send a checkpoint to the hub as REPO (owner/name), with a card that its run wrote.

    SOURCE is a run, whose newest checkpoint is meant, or a checkpoint. The card says the base, the
    environments, seed, steps, restarts and the held-out pass rate with its interval. Paths,
    addresses and the optimizer's state stay here.
    """
    from munro.machine.verbs.push import run_push

    sys.exit(run_push(source, repo, to=to, dry_run=dry_run, private=private))


@click.command()
@click.argument("run")
@click.argument("step", type=click.IntRange(1))
def export(run: str, step: int) -> None:
    """Make the model of a checkpoint whose weights lie in the pieces that its ranks wrote.

    A climb with several learner ranks does so by itself after each checkpoint, but for ephemeral
    ones and for what a kill cut short.
    """
    from munro.machine.run.checkpoints import export_model

    click.echo(export_model(Path(run), step))
