"""`munro regrade`."""

from __future__ import annotations

import sys

import click

from munro.machine.cli.arguments import OVERRIDABLE, first
from munro.machine.loading import overrides_of


@click.command(context_settings=OVERRIDABLE)
@first("run")
@click.option("--env", default="", help="Another environment, or which of the run's.")
@click.option("--config", "recipe", default="", help="Recipe whose [env], [rewards], [judge] hold.")
@click.option(
    "--out", default="", help="Folder to keep it in; one under RUN/regraded/ if left out."
)
@click.option("--first-step", type=int, help="First stored step to grade again.")
@click.option("--last-step", type=int, help="Last such step.")
@click.pass_context
def regrade(
    context: click.Context,
    run: str,
    env: str,
    recipe: str,
    out: str,
    first_step: int | None,
    last_step: int | None,
) -> None:
    """Grade what RUN stored again, and say which verdicts change.

    Options with a dot override keys, such as --env.args.tolerance 1e-3 or
    --env.graders.brief.args.most 50. Nothing is sampled. The same command goes on where it was
    interrupted.
    """
    from munro.machine.regrading.run import Wanted, run_regrade

    wanted = Wanted(
        run=run, env=env, recipe=recipe, out=out, first_step=first_step, last_step=last_step
    )
    sys.exit(run_regrade(wanted, overrides_of(context.args)))
