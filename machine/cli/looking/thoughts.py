"""`munro thoughts`."""

from __future__ import annotations

import sys

import click

from munro.machine.cli.arguments import OVERRIDABLE, first


@click.command(context_settings=OVERRIDABLE)
@first("run")
@click.option(
    "--mark", "marks", multiple=True, metavar="NAME=PATTERN", help="One more thing to look for."
)
@click.option("--scan", "judge", default="", metavar="NAME", help="Ask a grader or a judge too.")
@click.option("--config", "recipe", default="", help="Recipe that knows NAME as grader or judge.")
@click.option("--number", default=50, show_default=True, help="Replies of either end for --scan.")
@click.option("--seed", default=0, show_default=True, help="Of what is drawn.")
@click.pass_context
def thoughts(
    context: click.Context,
    run: str,
    marks: tuple[str, ...],
    judge: str,
    recipe: str,
    number: int,
    seed: int,
) -> None:
    """Say what thoughts turned into over the steps of RUN; write RUN/thoughts.html and .json.

    Length, checks of one's own work, approaches, small cases, languages, repetition, answers before
    the work, words about graders, calls before the first edit: each a curve with its interval, what
    changed and when, and the most telling replies. --scan shows a judge early and late replies,
    shuffled and without their steps; further options go to it, as with munro judge test.
    """
    from munro.machine.loading import overrides_of
    from munro.machine.thoughts.verbs import run_thoughts

    sys.exit(
        run_thoughts(
            run,
            marks,
            judge=judge,
            recipe=recipe,
            number=number,
            seed=seed,
            overrides=overrides_of(context.args),
        )
    )
