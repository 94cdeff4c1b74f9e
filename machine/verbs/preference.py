"""`munro preference`: train a preference model from comparisons, and score with one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from munro.distill.config import PreferenceConfig
from munro.machine.loading import from_overrides_as
from munro.rewards.preference.comparisons import read_comparisons

if TYPE_CHECKING:
    from munro.base_model.training.pretrain import StepMetrics
    from munro.distill.preference_figures import Figures

SETS_AT_ONCE = 64


def run_train(file: str, onto: str, out: str, overrides: Sequence[tuple[str, str]]) -> int:
    """Train, then print the table of figures.

    Raises:
        BadConfig: a key is wrong.
        BadComparisons: the file or one of its lines is.
        CannotTrain, NotAPreferenceModel, CheckpointError: these comparisons and this checkpoint
            do not go together, or the disk refused.
    """
    config = from_overrides_as(PreferenceConfig, overrides)
    comparisons = read_comparisons(file)
    from munro.base_model.checkpoint import Checkpoint
    from munro.base_model.hub import folder_of
    from munro.distill.preference import train_preference

    base = Checkpoint(folder_of(onto)).require()
    trained = train_preference(
        comparisons,
        onto=base.path,
        out=Path(out).expanduser().absolute(),
        config=config,
        source=file,
        on_metrics=_show,
    )
    if trained.num_cut:
        click.echo(f"{trained.num_cut} texts are longer than the limits and were cut")
    click.echo(table(trained.figures))
    click.echo(f"wrote {out}")
    return 0


def run_score(model: str, file: str) -> int:
    """Print each line of the file again, with "rewards".

    Raises:
        BadComparisons: the file or one of its lines is wrong.
        NotAPreferenceModel: the checkpoint cannot score.
    """
    comparisons = read_comparisons(file, judged=False)
    from munro.base_model.hub import folder_of
    from munro.rewards.preference import PreferenceModel

    scorer = PreferenceModel.load(folder_of(model))
    for start in range(0, len(comparisons), SETS_AT_ONCE):
        some = comparisons[start : start + SETS_AT_ONCE]
        rewards = scorer.score_many([(one.context, one.candidates) for one in some])
        for comparison, row in zip(some, rewards, strict=True):
            line = {"context": comparison.context, "candidates": comparison.candidates}
            click.echo(json.dumps({**line, "rewards": [round(reward, 6) for reward in row]}))
    return 0


def table(figures: Figures) -> str:
    """The figures as a person reads them."""
    return "\n".join(_rows(figures))


def _rows(figures: Figures) -> Iterator[str]:
    rotated, unrotated = figures.rotated, figures.unrotated
    yield f"held out: {figures.comparisons} comparisons, {figures.pairs} pairs"
    yield (
        f"bias over {figures.bias_comparisons} of them, {figures.bias_candidates} candidates each, "
        "every one at every place"
    )
    yield ""
    yield f"{'':<36}{'rotated':>10}{'one order':>12}"
    for name, ours, theirs in (
        ("pairwise accuracy", rotated.pairwise_accuracy, unrotated.pairwise_accuracy),
        ("position bias of the mean score", rotated.position_bias, unrotated.position_bias),
        ("spread of one candidate's score", rotated.spread, unrotated.spread),
    ):
        yield f"{name:<36}{ours:>10.3f}{theirs:>12.3f}"
    places = zip(rotated.by_place, unrotated.by_place, strict=True)
    for place, (ours, theirs) in enumerate(places, 1):
        yield f"{f'mean score at place {place}':<36}{ours:>10.3f}{theirs:>12.3f}"


def _show(metrics: StepMetrics) -> None:
    click.echo(
        f"step {metrics.step} of {metrics.num_steps}: loss {metrics.loss:.3f}, "
        f"{metrics.seconds_left:.0f} s left",
        err=True,
    )
