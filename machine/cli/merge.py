"""The command that makes a whole model of an adapter."""

from __future__ import annotations

import sys

import click


@click.command()
@click.argument("checkpoint")
@click.argument("out")
@click.option("--base", default="", help="The base, a folder or a hub name, if not where it was.")
@click.option(
    "--dtype",
    default="auto",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="Precision of the result; auto is that of the base.",
)
def merge(checkpoint: str, out: str, base: str, dtype: str) -> None:
    """Make a whole model of the adapter in CHECKPOINT and its base."""
    from munro.machine.verbs.merge import run_merge

    sys.exit(run_merge(checkpoint, out, base, dtype))
