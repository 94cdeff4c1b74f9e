"""`munro plan` on the command line."""

from __future__ import annotations

import click

from munro.machine.cli.arguments import OVERRIDABLE, first


@click.command(context_settings=OVERRIDABLE)
@first("file")
@click.option("--simulate", is_flag=True, help="Also simulate the climb: queues and failures.")
@click.option(
    "--sweep",
    multiple=True,
    metavar="ratio=2:1,5:1",
    help="Simulate a table of shares of the GPUs; also groups=512,1024 in flight.",
)
@click.pass_context
def plan(context: click.Context, file: str, simulate: bool, sweep: tuple[str, ...]) -> None:
    """Say what the climb in FILE would need and how fast it could be, on hardware that is not here.

    From shapes and formulas alone: nothing is started, fetched or loaded. [plan] of the recipe says
    which hardware, and what it assumes of answers.
    """
    from munro.machine.loading import load, overrides_of
    from munro.machine.planning.job import job_of
    from munro.machine.planning.memory import require_room
    from munro.machine.planning.page import page
    from munro.machine.planning.sweep import simulated, sweep_of, swept

    table = sweep_of(sweep)
    job = job_of(load(file, overrides_of(context.args)))
    require_room(job)
    click.echo(page(job))
    for line in simulated(job) if simulate else ():
        click.echo(line)
    for line in swept(job, table) if table else ():
        click.echo(line)
