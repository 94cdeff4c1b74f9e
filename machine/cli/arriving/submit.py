"""`munro submit`."""

from __future__ import annotations

import click

from munro.machine.cli.arguments import OVERRIDABLE, first


@click.command(context_settings=OVERRIDABLE)
@first("recipe")
@click.option("--slurm", is_flag=True, help="As a batch script, by sbatch.")
@click.option("--ray-job", is_flag=True, help="As a job of a running Ray cluster.")
@click.option("--dry-run", is_flag=True, help="Print the script or command, send nothing.")
@click.option("--address", default="", metavar="URL", help="Ray: of the cluster's dashboard.")
@click.option("--partition", default="", help="Slurm: partition.")
@click.option("--account", default="", help="Slurm: account.")
@click.option("--time", default="", help="Slurm: limit, as in 24:00:00.")
@click.option("--nodes", default=1, show_default=True, type=click.IntRange(1), help="Slurm: nodes.")
@click.option("--gpus", default=0, type=click.IntRange(0), help="Slurm: GPUs of a node.")
@click.option("--cpus", default=0, type=click.IntRange(0), help="Slurm: CPUs of a node.")
@click.option("--sbatch", multiple=True, metavar="OPTION", help="Slurm: another, --qos=high.")
@click.pass_context
def submit(
    context: click.Context,
    /,
    recipe: str,
    slurm: bool,
    ray_job: bool,
    dry_run: bool,
    address: str,
    sbatch: tuple[str, ...],
    **asked: str | int,
) -> None:
    """Send a climb to a cluster, as a job of Slurm's or of Ray's; the same job again resumes it.

    Dotted keys go with it, as to munro climb.
    """
    from munro.machine.submitting.job import to_ray, to_slurm
    from munro.machine.submitting.slurm import Slurm

    if slurm == ray_job:
        raise click.UsageError("say where to: --slurm or --ray-job.")
    if ray_job:
        if given := [name for name, value in asked.items() if value not in ("", 0, 1)]:
            raise click.UsageError(f"--{given[0]} is for --slurm.")
        click.echo(to_ray(recipe, context.args, address, dry_run=dry_run))
        return
    wanted = Slurm(**asked, options=sbatch)  # type: ignore[arg-type]
    click.echo(to_slurm(recipe, context.args, wanted, dry_run=dry_run))
