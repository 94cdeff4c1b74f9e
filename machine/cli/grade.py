"""`munro grade`: its options, and a page of help that says what each kind of grader takes."""

from __future__ import annotations

import sys

import click

from munro.machine.cli.arguments import OVERRIDABLE, first
from munro.machine.loading import overrides_of


class _Grade(click.Command):
    """Lists the kinds of graders only for who asks for help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        from munro.rewards.kinds import described

        formatter.write_paragraph()
        formatter.write("Kinds, and the fields of a line beside `response` (? may be left out):\n")
        formatter.write(f"{described()}\n")


@click.command(cls=_Grade, context_settings=OVERRIDABLE)
@first("file")
@click.option("--kind", required=True, help="What grades: a name of those below, or FILE.py:CLASS.")
@click.option("--out", default="", help="JSONL of grades to write; goes on with one that is there.")
@click.option("--config", "recipe", default="", help="Recipe whose [rewards] holds.")
@click.option("--workers", default=0, help="Gradings at once; 0 takes what suits the kind.")
@click.option("--timeout-s", default=0.0, help="Wall seconds of one grading; 0 likewise.")
@click.option("--deadline-s", default=300.0, show_default=True, help="The same, waiting included.")
@click.pass_context
def grade(
    context: click.Context,
    file: str,
    kind: str,
    out: str,
    recipe: str,
    workers: int,
    timeout_s: float,
    deadline_s: float,
) -> None:
    """Grade a JSONL file of responses and print a table.

    Further options go to the grader, such as --reward fraction, or --judge.model NAME
    --judge.base_url URL --ask rubric.
    """
    from munro.machine.verbs.grade import run_grade
    from munro.rewards.config import PoolConfig

    sizes = PoolConfig(workers=workers, timeout_s=timeout_s, deadline_s=deadline_s)
    sys.exit(run_grade(file, kind, out, recipe, sizes, overrides_of(context.args)))
