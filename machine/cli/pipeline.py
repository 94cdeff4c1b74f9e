"""Commands of the whole machine."""

from __future__ import annotations

import sys

import click


@click.command(name="machine")
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Print the plan: inputs, outputs, what would run.")
@click.option("--force", is_flag=True, help="Make phases whose inputs changed anew.")
def run_whole(file: str, dry_run: bool, force: bool) -> None:
    """Run the phases of FILE: base, climbs, consolidation, final climb, evaluation.

    What is done is not done again: the same command goes on where it was stopped or killed.
    """
    from munro.machine.pipeline.machine import plan, run_machine

    if dry_run:
        click.echo(plan(file))
        return
    sys.exit(run_machine(file, force=force))
