"""Commands about restarts of a climb."""

from __future__ import annotations

import sys

import click


@click.command()
@click.argument("run")
@click.option("--onto", required=True, help="The new base: a folder or a hub name.")
def rebase(run: str, onto: str) -> None:
    """Give the climb in RUN a new base: it distils its traces onto it, and goes on from there.

    A running climb does so after its present step, a stopped one when it is started again.
    """
    from munro.machine.climb.rebase import run_rebase

    sys.exit(run_rebase(run, onto))
