"""`munro import`."""

from __future__ import annotations

import click

from munro.machine.cli.arguments import OVERRIDABLE, first


@click.command(name="import", context_settings=OVERRIDABLE)
@first("file")
@click.option("--out", default="", metavar="RECIPE", help="Recipe to write; FILE's name by itself.")
@click.option("--force", is_flag=True, help="Write over a recipe that is there.")
@click.pass_context
def bring(context: click.Context, file: str, out: str, force: bool) -> None:
    """Make a recipe of another trainer's configuration, and list what has no counterpart.

    FILE is a script of TRL's (.py, read and never run), a configuration of verl's (.yaml) or of
    prime-rl's (.toml). Dotted keys, as in --model.path NAME, say what it leaves open.
    """
    from munro.machine.importing.write import run_import
    from munro.machine.loading import overrides_of

    click.echo(run_import(file, out, overrides_of(context.args), force=force))
