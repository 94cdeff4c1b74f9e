"""What follows `munro questions`."""

from __future__ import annotations

import sys

import click

from munro.machine.cli.arguments import OVERRIDABLE, first
from munro.machine.cli.listing import Listing


@click.group(cls=Listing)
def questions() -> None:
    """Make question and answer pairs out of documents."""


@questions.command(name="build", context_settings=OVERRIDABLE)
@first("file")
@click.option("--until", default="", metavar="STAGE", help="Stop after this stage.")
@click.option("--dry-run", is_flag=True, help="Say what would be read; read and write nothing.")
@click.pass_context
def questions_build(context: click.Context, file: str, until: str, dry_run: bool) -> None:
    """Take questions from the documents of FILE; resume where it stopped."""
    from munro.machine.loading import overrides_of
    from munro.machine.questions.verbs import run_build

    sys.exit(run_build(file, overrides_of(context.args), until=until, dry_run=dry_run))


@questions.command(name="clean")
@click.argument("file")
@click.option("--against", multiple=True, metavar="EVAL", help="Evaluation set; may be repeated.")
@click.option("--out", required=True, help="File to write (.jsonl).")
@click.option("--question", default="question", show_default=True, help="Column of the question.")
@click.option("--answer", default="answer", show_default=True, help="Column of the answer.")
def questions_clean(
    file: str, against: tuple[str, ...], out: str, question: str, answer: str
) -> None:
    """Leave duplicates and questions of evaluation sets out of FILE (.jsonl, .parquet)."""
    from munro.machine.questions.verbs import run_clean

    sys.exit(run_clean(file, against, out, question, answer))


@questions.command(name="score")
@click.argument("file")
@click.option("--tiers", required=True, metavar="TOML", help="Who tries them, weakest first.")
@click.option("--out", required=True, help="Folder to write; the same command resumes.")
@click.option("--question", default="question", show_default=True, help="Column of the question.")
@click.option("--answer", default="answer", show_default=True, help="Column of the answer.")
@click.option("--dry-run", is_flag=True, help="Say who would be asked how often; ask nobody.")
def questions_score(
    file: str, tiers: str, out: str, question: str, answer: str, dry_run: bool
) -> None:
    """Find out how hard the questions of FILE are, and which of their answers are wrong."""
    from munro.machine.questions.verbs import run_score

    sys.exit(run_score(file, tiers, out, question, answer, dry_run=dry_run))


@questions.command(name="look")
@click.argument("out")
def questions_look(out: str) -> None:
    """Write OUT/look.html: the funnel, pairs beside their source, and what was left out."""
    from munro.machine.questions.verbs import run_look

    sys.exit(run_look(out))
