"""The command that searches for a mixture."""

from __future__ import annotations

import sys

import click

from munro.machine.cli.arguments import OVERRIDABLE, first


@click.command(context_settings=OVERRIDABLE)
@first("file")
@click.option("--dry-run", is_flag=True, help="Say how much would be trained, train nothing.")
@click.pass_context
def mix(context: click.Context, file: str, dry_run: bool) -> None:
    """Search for the weights of a mixture with small proxies, and check them with larger ones."""
    from munro.machine.loading import overrides_of
    from munro.machine.verbs.mix import run_mix

    sys.exit(run_mix(file, overrides_of(context.args), dry_run=dry_run))
