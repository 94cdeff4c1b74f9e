"""The command line. Commands say what a person wants; the work is elsewhere and imported late.

Options with a dot, such as `--learner.learning_rate 1e-4`, override keys of the recipe.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from munro.machine.cli.arguments import OVERRIDABLE, first
from munro.machine.cli.arriving.bring import bring
from munro.machine.cli.arriving.submit import submit
from munro.machine.cli.begin import doctor, init
from munro.machine.cli.data import data, tokenizer
from munro.machine.cli.distill import consolidate, distill
from munro.machine.cli.evaluation import evaluation
from munro.machine.cli.grade import grade
from munro.machine.cli.image import image
from munro.machine.cli.judge import judge, preference
from munro.machine.cli.ladder import gain, ladder
from munro.machine.cli.listing import Listing
from munro.machine.cli.looking.plan import plan
from munro.machine.cli.looking.sides import sides
from munro.machine.cli.looking.thoughts import thoughts
from munro.machine.cli.merge import merge
from munro.machine.cli.mix import mix
from munro.machine.cli.models import export, push
from munro.machine.cli.pipeline import run_whole
from munro.machine.cli.pretrain import goodput, pretrain
from munro.machine.cli.questions.group import questions
from munro.machine.cli.regrading.command import regrade
from munro.machine.cli.restart import rebase
from munro.machine.cli.serve import serve
from munro.machine.cli.swe import swe
from munro.machine.cli.watch.command import watch
from munro.machine.cli.world import world
from munro.machine.loading import load, overrides_of, page
from munro.machine.remote import refuse_stores_among
from munro.machine.sentences import in_one_line, is_sentence


@click.group(cls=Listing, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="munro")
def munro() -> None:
    """A hill-climbing machine for language models."""


@munro.command(context_settings=OVERRIDABLE)
@first("file")
@click.option("--model", default="", help="Model to start from: a folder, or its name on the hub.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would run, run nothing.")
@click.option(
    "--probe",
    is_flag=False,
    flag_value=60.0,
    default=0.0,
    metavar="[SECONDS]",
    help="With --dry-run: climb for a minute, or so many seconds, to see what a step takes.",
)
@click.option("--force", is_flag=True, help="Resume although the config changed.")
@click.pass_context
def climb(
    context: click.Context, file: str, model: str, dry_run: bool, probe: float, force: bool
) -> None:
    """Start a climb, or resume it where it stopped."""
    if probe and not dry_run:
        raise click.UsageError("--probe goes with --dry-run.")
    overrides = overrides_of(context.args) + ([("model.path", model)] if model else [])
    config = load(file, overrides)
    if dry_run:
        from munro.machine.climb.dry_run import plan

        click.echo(plan(config, probe_s=probe))
        return
    from munro.machine.climb.process import run_climb

    sys.exit(run_climb(config, force=force))


@munro.command(context_settings=OVERRIDABLE)
@first("file")
@click.option("--steps", default=1, show_default=True, help="Steps' worth of groups to sample.")
@click.pass_context
def rollout(context: click.Context, file: str, steps: int) -> None:
    """Sample and grade only: what the learner would get, in a run folder of its own."""
    config = load(file, overrides_of(context.args))
    from munro.machine.climb.debug import run_rollout

    sys.exit(run_rollout(config, steps))


@munro.command()
@click.argument("run")
@click.option("--step", required=True, type=int, help="Optimizer step to take again.")
@click.option("--tokens", is_flag=True, help="Keep ratio and clip of every token for munro watch.")
def replay(run: str, step: int, tokens: bool) -> None:
    """The learner alone, on a stored step: the same numbers as then."""
    from munro.machine.climb.debug import run_replay

    sys.exit(run_replay(run, step, tokens=tokens))


@munro.group(cls=Listing)
def env() -> None:
    """Look at environments."""


@env.command(name="list")
def env_list() -> None:
    """Environments that have a name."""
    from munro.envs.loader import available

    for name, line in available():
        click.echo(f"{name:<16} {line}")


@env.command(name="check", context_settings=OVERRIDABLE)
@first("path")
@click.pass_context
def env_check(context: click.Context, path: str) -> None:
    """Show a task, prove that the gold reply passes and silence fails, time the grader."""
    from munro.machine.verbs.env_check import run_check

    sys.exit(run_check(path, overrides_of(context.args)))


env.add_command(image)


@munro.command(context_settings=OVERRIDABLE)
@first("file")
@click.pass_context
def config(context: click.Context, file: str) -> None:
    """Print the resolved config on a page."""
    click.echo(page(load(file, overrides_of(context.args))))


@munro.command()
@click.argument("source")
@click.option("--out", required=True, help="File to write (JSON).")
@click.option("--low", default=0.05, show_default=True, help="Quantile where a range begins.")
@click.option("--high", default=0.95, show_default=True, help="Quantile where it ends.")
def lengths(source: str, out: str, low: float, high: float) -> None:
    """Usual lengths by context, for the grader length_range, from SOURCE.

    SOURCE is a run's folder, of which the passed attempts count in tokens, or a .jsonl file of
    reference answers (`response`, and `context` or `task_id`), which count in words.
    """
    from munro.machine.verbs.lengths import run_lengths

    click.echo(run_lengths(Path(source), Path(out), low, high))


@munro.command()
@click.argument("run")
def status(run: str) -> None:
    """Who waits for whom in a run, and since when."""
    from munro.machine.run.status import describe

    click.echo(describe(Path(run)))


@munro.command()
@click.argument("run")
def report(run: str) -> None:
    """Write RUN/report.html: one self-contained page."""
    from munro.machine.report.report import write_report

    click.echo(f"wrote {write_report(Path(run))}")


munro.add_command(bring)
munro.add_command(consolidate)
munro.add_command(data)
munro.add_command(distill)
munro.add_command(doctor)
munro.add_command(evaluation)
munro.add_command(gain)
munro.add_command(goodput)
munro.add_command(grade)
munro.add_command(init)
munro.add_command(judge)
munro.add_command(ladder)
munro.add_command(merge)
munro.add_command(export)
munro.add_command(mix)
munro.add_command(plan)
munro.add_command(preference)
munro.add_command(pretrain)
munro.add_command(push)
munro.add_command(questions)
munro.add_command(rebase)
munro.add_command(regrade)
munro.add_command(run_whole)
munro.add_command(serve)
munro.add_command(sides)
munro.add_command(submit)
munro.add_command(swe)
munro.add_command(thoughts)
munro.add_command(tokenizer)
munro.add_command(watch)
munro.add_command(world)


def main() -> None:
    """Entry point: a mistake of the user's is one line on stderr and exit status 2."""
    # OpenMP threads that spin while they wait for one whose core is taken are ten times slower
    # than ones that sleep; on a free machine it makes no difference. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        refuse_stores_among(sys.argv[1:])
        munro(prog_name="munro", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("munro: interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        if not is_sentence(error):
            raise
        click.echo(f"munro: {in_one_line(error)}", err=True)
        sys.exit(2)
