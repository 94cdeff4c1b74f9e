"""Commands for the first minutes: a folder to begin with, and what this machine has."""

from __future__ import annotations

import sys

import click

from munro.machine.cli.arguments import first


@click.command()
@first("name")
def init(name: str) -> None:
    """Write the folder NAME: a recipe, an environment of one class, a README."""
    from munro.machine.verbs.init import write_folder

    click.echo(write_folder(name))


@click.command()
def doctor() -> None:
    """Say what this machine has, and what each missing piece costs."""
    from munro.machine.doctor.report import findings, table

    found = findings()
    click.echo(table(found))
    sys.exit(1 if any(one.level == "broken" for one in found) else 0)
