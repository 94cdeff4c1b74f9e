"""What `munro questions` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from munro.machine.loading import load_as
from munro.questions.config import QuestionsConfig

if TYPE_CHECKING:
    from munro.questions.answers.config import ScoreConfig, TierConfig
    from munro.questions.answers.score import Scored
    from munro.questions.planning import Plan


def run_build(file: str, overrides: Sequence[tuple[str, str]], *, until: str, dry_run: bool) -> int:
    """Build and score, or say what would be built and what it lacks.

    Raises:
        BadConfig: the file or a key is wrong.
        QuestionsError: a document, an evaluation set or a tier is.
        GraderError: the reader or the judge gave no answer.
    """
    config = load_as(QuestionsConfig, file, overrides)
    if dry_run:
        from munro.questions.planning import planned

        return _told(planned(config))
    build_and_score(config, until=until)
    return 0


def _told(plan: Plan) -> int:
    for line in (*plan.does, *(f"lacks      {lack}" for lack in plan.lacks)):
        click.echo(line)
    return 0


def build_and_score(config: QuestionsConfig, *, until: str = "") -> dict[str, int]:
    """Every stage, and the tiers where there are some; told on the console.

    Returns:
        How many questions there are, and what became of them.
    """
    from munro.questions.build import QUESTIONS, SCORED, STAGES, build
    from munro.questions.funnel import table

    levels = build(config, until=until, on_progress=_say)
    click.echo(table(levels))
    out = Path(config.out).expanduser()
    if len(levels) < len(STAGES):
        return {}
    click.echo(f"wrote {out / QUESTIONS}; to look at it: munro questions look {out}")
    dropped = sum(sum(level.dropped.values()) for level in levels)
    figures = {"questions": levels[-1].kept, "left out": dropped}
    if config.score is not None:
        done = score_as(str(out / QUESTIONS), str(out / SCORED), config.score)
        figures |= dict(sorted(done.brackets.items())) | {"wrong": done.dropped}
    return figures


def _say(line: str) -> None:
    click.echo(line, err=True)


def run_clean(file: str, against: Sequence[str], out: str, question: str, answer: str) -> int:
    """Clean a file of questions.

    Raises:
        QuestionsError: a file cannot be used.
    """
    from munro.questions.cleaning import clean

    done = clean(Path(file), Path(out), against, question=question, answer=answer)
    click.echo(f"{done.read:,} questions, {done.kept:,} kept")
    for reason, number in Counter(one.reason for one in done.dropped).most_common():
        click.echo(f"{number:,} {reason}")
    click.echo(f"wrote {out}; the others are in {Path(out).stem}.dropped.jsonl beside it")
    return 0


def run_score(file: str, tiers: str, out: str, question: str, answer: str, *, dry_run: bool) -> int:
    """Score a file of questions, or say what that would take.

    Raises:
        BadConfig: the file of tiers or a key of it is wrong.
        CheckpointError: a tier's checkpoint is incomplete.
        QuestionsError: a row has no question or answer, or a tier answers nothing.
        GraderError: the judge gave no verdict.
    """
    from munro.questions.answers.config import ScoreConfig

    config = load_as(ScoreConfig, tiers)
    if dry_run:
        from munro.questions.planning import scoring_planned

        to = Path(out).expanduser()
        return _told(scoring_planned(Path(file), to, config, question=question, answer=answer))
    score_as(file, out, config, question=question, answer=answer)
    return 0


def score_as(
    file: str,
    out: str,
    config: ScoreConfig,
    *,
    question: str = "question",
    answer: str = "answer",
) -> Scored:
    """Score a file of questions; told on the console. Raises as `run_score`."""
    from munro.questions.answers import warnings
    from munro.questions.answers.score import score

    config = config.model_copy(update={"tiers": tuple(map(_as_climbed, config.tiers))})
    for warning in warnings.of_config(config):
        click.echo(f"warning: {warning}", err=True)
    done = score(
        Path(file),
        out,
        config,
        question=question,
        answer=answer,
        on_progress=_say,
    )
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    told = ", ".join(f"{number:,} {bracket}" for bracket, number in sorted(done.brackets.items()))
    click.echo(f"kept: {told or 'none'}")
    if done.doubts:
        said = ", ".join(f"{number:,} {choice}" for choice, number in sorted(done.doubts.items()))
        click.echo(f"answers in doubt, by what the judge takes for right: {said}")
    click.echo(f"dropped: {done.dropped:,}")
    click.echo(f"wrote {Path(out) / 'questions.jsonl'}")
    return done


def _as_climbed(tier: TierConfig) -> TierConfig:
    """A tier that Munro runs, in the template that its checkpoint was climbed in."""
    folder = Path(tier.model).expanduser()
    if tier.base_url or not folder.is_dir():
        return tier
    from munro.machine.evaluating.manner import manner_of

    manner = manner_of(folder, tier.serve.template or None)
    click.echo(f"tier {tier.name}: {manner.said}", err=True)
    told = {"template": manner.template, "template_args": tier.serve.template_args or manner.args}
    return tier.model_copy(update={"serve": tier.serve.model_copy(update=told)})


def run_look(out: str) -> int:
    """Write the page.

    Raises:
        QuestionsError: the folder holds no build.
    """
    from munro.questions.look import write_page

    click.echo(f"wrote {write_page(Path(out))}")
    return 0
