"""Commands of pre-training."""

from __future__ import annotations

import sys

import click

from munro.machine.cli.arguments import OVERRIDABLE, first


@click.command(context_settings=OVERRIDABLE)
@first("file")
@click.option("--out", default="", help="The run's folder; by default the recipe's folder/name.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan, train nothing.")
@click.option("--force", is_flag=True, help="Go on although the recipe changed.")
@click.pass_context
def pretrain(context: click.Context, file: str, out: str, dry_run: bool, force: bool) -> None:
    """Train a base model through the phases of FILE, or go on where that stopped."""
    from munro.machine.loading import overrides_of
    from munro.machine.verbs.pretrain import run_pretrain

    overrides = overrides_of(context.args)
    sys.exit(run_pretrain(file, out, overrides, dry_run=dry_run, force=force))


@click.command()
@click.argument("run")
def goodput(run: str) -> None:
    """Where the wall-clock of the pre-training or the climb in RUN went."""
    from munro.machine.verbs.pretrain import run_goodput

    sys.exit(run_goodput(run))
