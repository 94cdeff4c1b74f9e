"""Commands about judges and preference models: train one, score with one, and test either."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from munro.machine.cli.arguments import OVERRIDABLE, first
from munro.machine.cli.listing import Listing
from munro.machine.loading import overrides_of

Command = TypeVar("Command", bound=Callable[..., Any])


def of_a_file(command: Command) -> Command:
    """Options of commands that read people's preferences."""
    command = click.option(
        "--question", default="", help="Of data that answer several, the one to read."
    )(command)
    return click.option("--skip-wrong", is_flag=True, help="Leave wrong lines out, and name them.")(
        command
    )


@click.group(cls=Listing)
def preference() -> None:
    """Train a preference model from comparisons, score with one, and test one."""


@preference.command(name="train", context_settings=OVERRIDABLE)
@first("file")
@click.option("--onto", required=True, help="Model to start from: a folder or a hub name.")
@click.option("--out", required=True, help="Checkpoint folder to write.")
@of_a_file
@click.pass_context
def preference_train(
    context: click.Context, file: str, onto: str, out: str, question: str, skip_wrong: bool
) -> None:
    """Fine-tune from comparisons in JSONL; print held-out accuracy and position bias."""
    from munro.machine.verbs.preference import run_train

    sys.exit(
        run_train(
            file,
            onto,
            out,
            overrides_of(context.args),
            question=question,
            skip_wrong=skip_wrong,
        )
    )


@preference.command(name="score")
@click.argument("model")
@click.argument("file")
def preference_score(model: str, file: str) -> None:
    """Print the rewards of the candidates in FILE (JSONL), one JSON line for each line."""
    from munro.machine.verbs.preference import run_score

    sys.exit(run_score(model, file))


@preference.command(name="test")
@click.argument("model")
@click.argument("file")
@click.option("--base-url", default="", help="Of a server of MODEL, which is then its folder.")
@click.option("--limit", default=0, help="Comparisons to take, drawn by the seed; 0 for all.")
@click.option("--seed", default=0, help="Of that draw.")
@of_a_file
def preference_test(
    model: str, file: str, base_url: str, limit: int, seed: int, question: str, skip_wrong: bool
) -> None:
    """How often MODEL prefers what people preferred in FILE, by subset, with intervals.

    Reads TRL's form, HelpSteer3's, UltraFeedback's, RewardBench's, PKU-SafeRLHF's and our own
    (docs/judges.md).
    """
    from munro.machine.verbs.preference import run_test

    sys.exit(
        run_test(
            model,
            file,
            base_url=base_url,
            limit=limit,
            seed=seed,
            question=question,
            skip_wrong=skip_wrong,
        )
    )


@click.group(cls=Listing)
def judge() -> None:
    """Look at judges."""


@judge.command(name="test", context_settings=OVERRIDABLE)
@first("name")
@click.argument("labels")
@click.option("--config", "recipe", default="", help="Recipe that knows NAME as grader or judge.")
@click.option("--figure", default="", help="Of a grade: passed, reward, or the name of a part.")
@click.option("--flip", is_flag=True, help="Take 1 less the figure.")
@click.option(
    "--figure-from", default=0.5, show_default=True, help="Where the figure becomes a verdict."
)
@click.option("--label-from", type=float, help="Where people's grades become verdicts.")
@click.option(
    "--level",
    type=click.Choice(["nominal", "ordinal", "interval"]),
    help="Of agreement; nominal for verdicts, ordinal for grades unless given.",
)
@click.option("--again", default=100, show_default=True, help="Responses to ask a second time.")
@click.option(
    "--bias",
    default=20,
    show_default=True,
    help="Transcripts to show among harmless turns too, their work early and late.",
)
@click.option("--limit", default=0, help="Rows to take, drawn by the seed; 0 for all.")
@click.option("--seed", default=0, help="Of what is drawn.")
@click.option("--price-in", default=0.0, help="Of a million tokens that go in.")
@click.option("--price-out", default=0.0, help="Of a million tokens that come out.")
@of_a_file
@click.pass_context
def judge_test(context: click.Context, /, name: str, labels: str, **given: Any) -> None:
    """Hold a judge against people's LABELS before anybody is paid by it.

    NAME is a grader or a judge of the recipe, a kind of grader (munro grade --help lists them), a
    file FILE.py:CLASS, or the folder of a preference model. LABELS is JSONL or CSV of labelled
    responses or transcripts, or JSONL of comparisons. Further options go to the grader, such as
    --pattern "I can't" or --ask rubric --judge.model NAME --judge.base_url URL.

    Exit status 0 if it is better than chance, 3 if that cannot be said.
    """
    from munro.machine.judging import run_judge_test

    sys.exit(run_judge_test(name, labels, overrides_of(context.args), **given))
