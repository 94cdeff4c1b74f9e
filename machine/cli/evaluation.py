"""`munro eval` with what looks at kept results: `munro eval compare`, `munro eval gate`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from munro.machine.cli.arguments import OVERRIDABLE, first
from munro.machine.cli.harness import harness, likelihood
from munro.machine.cli.listing import Listing
from munro.machine.loading import overrides_of


class Bare(Listing):
    """A group that is a command as well: `munro eval --model X` is `munro eval run --model X`."""

    bare = "run"
    """The command that stands for the group itself; hidden in its list."""
    instead = {"--harness": "harness"}  # noqa: RUF012 - never changed
    """Options that another command stands for."""

    def meant(self, args: list[str]) -> str:
        """The command that is meant where a person named none."""
        given = {word.partition("=")[0] for word in args}
        return next((name for option, name in self.instead.items() if option in given), self.bare)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the bare command's name where a person left it out."""
        known = {*self.commands, *ctx.help_option_names}
        if args and args[0] not in known:
            args = [self.meant(args), *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Those of the bare command, then the commands."""
        command = self.commands[self.bare]
        command.format_options(click.Context(command, parent=ctx), formatter)
        self.format_commands(ctx, formatter)


@click.group(name="eval", cls=Bare)
def evaluation() -> None:
    """How good a checkpoint is on held-out tasks, and how sure that is.

    A checkpoint of a climb knows its tasks, their arguments and its template: they hold unless
    told otherwise. Options with a dot override keys, such as --env.args.digits 2,
    --rollout.template chat or --length.stages "[64]". Every attempt is kept; the same command goes
    on where it was interrupted.
    """


@evaluation.command(name="run", hidden=True, context_settings=OVERRIDABLE)
@click.option("--model", required=True, help="A checkpoint folder, or a name on the hub.")
@click.option("--env", default="", help="Registry name, module:Class, or file.py:Class.")
@click.option("--suite", default="", help="A TOML file of entries, in the place of --env.")
@click.option("--tasks", type=int, default=None, help="Held-out tasks; 200 unless given.")
@click.option("--runs", type=int, default=None, help="Attempts at each task; 4 unless given.")
@click.option("--k", default=0, help="Also report pass@k for this k (at most --runs).")
@click.option("--out", default="", help="Folder to keep it in; one under evals/ unless given.")
@click.pass_context
def run(
    context: click.Context,
    model: str,
    env: str,
    suite: str,
    tasks: int | None,
    runs: int | None,
    k: int,
    out: str,
) -> None:
    """Evaluate a checkpoint."""
    from munro.machine.evaluating.run import Wanted, run_eval

    wanted = Wanted(model=model, env=env, suite=suite, tasks=tasks, runs=runs, k=k, out=out)
    sys.exit(run_eval(wanted, overrides_of(context.args)))


@evaluation.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--figure", default="pass_rate", show_default=True, help="Of attempts, to compare.")
@click.option("--entry", default="", help="Of the suite; all unless given.")
@click.option("--flips", default=5, show_default=True, help="Tasks to name that flipped.")
def compare(results: tuple[Path, ...], figure: str, entry: str, flips: int) -> None:
    """Compare kept results, each with the first, task by task.

    Differences with their 95% intervals; p-values are corrected for the number of comparisons.
    """
    from munro.evaluation.compare import compare as compared
    from munro.evaluation.results import Results
    from munro.evaluation.told import comparison_lines

    found = compared([Results(path) for path in results], figure=figure, entry=entry)
    for line in comparison_lines(found, most_flips=flips):
        click.echo(line)


@evaluation.command()
@first("rules")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--before", multiple=True, help="Results of the model that this one would replace; repeat."
)
def gate(rules: str, results: tuple[Path, ...], before: tuple[str, ...]) -> None:
    """Hold kept results against the rules of a TOML file.

    RESULTS of one model may lie in several folders: its own tasks in one, a harness's in another.
    Exit status 0 where all pass, 1 where one fails, 3 where one cannot be told from so few tasks.
    """
    from munro.evaluation.config import GateConfig
    from munro.evaluation.gate import decide
    from munro.evaluation.joined import joined
    from munro.machine.loading import load_as

    config = load_as(GateConfig, rules)
    earlier = joined(before) if before else None
    verdict, rulings = decide(config, joined(results), earlier, home=Path(rules).parent)
    for ruling in rulings:
        click.echo(str(ruling))
    click.echo(f"verdict: {verdict}")
    sys.exit(verdict.exit_status)


evaluation.add_command(harness)
evaluation.add_command(likelihood)
