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
@click.option("--model", default="", help="Look at this model instead: a folder or a hub name.")
def doctor(model: str) -> None:
    """Say what this machine has, and what each missing piece costs.

    With --model: whether Munro can sample and train that model, in which template, which form of
    tool calls it writes, and the memory that it wants. Its weights are not fetched for that.
    """
    from munro.machine.doctor.report import findings, findings_of_model, table

    found = findings_of_model(model) if model else findings()
    click.echo(table(found))
    sys.exit(1 if any(one.level == "broken" for one in found) else 0)
