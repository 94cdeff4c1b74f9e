"""`munro preference`: train a preference model from comparisons, score with one, and test one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from munro.distill.config import PreferenceConfig
from munro.machine.judging import comparisons_of, some
from munro.machine.loading import from_overrides_as
from munro.rewards.preference.comparisons import BadComparisons, Comparison, read_comparisons

if TYPE_CHECKING:
    from munro.base_model.training.pretrain import StepMetrics
    from munro.distill.preference_figures import Figures

SETS_AT_ONCE = 64


def run_train(
    file: str,
    onto: str,
    out: str,
    overrides: Sequence[tuple[str, str]],
    *,
    question: str = "",
    skip_wrong: bool = False,
) -> int:
    """Train, then print the table of figures.

    Args:
        file: of comparisons.
        onto: model to start from.
        out: checkpoint to write.
        overrides: keys of a `PreferenceConfig`.
        question: of data that answer several, the one to learn.
        skip_wrong: leave wrong lines out, and name them.

    Raises:
        BadConfig: a key is wrong.
        BadComparisons: the file or one of its lines is.
        CannotTrain, NotAPreferenceModel, CheckpointError: these comparisons and this checkpoint
            do not go together, or the disk refused.
    """
    config = from_overrides_as(PreferenceConfig, overrides)
    comparisons = comparisons_of(file, question, skip_wrong)
    _require_one_question(file, comparisons)
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


def run_test(
    model: str,
    file: str,
    *,
    base_url: str,
    limit: int,
    seed: int,
    question: str,
    skip_wrong: bool,
) -> int:
    """Print how often a model prefers what people preferred.

    Args:
        model: a checkpoint.
        file: of comparisons.
        base_url: of a server that serves it; "" loads it here.
        limit: comparisons to take; 0 for all.
        seed: of which ones.
        question: of data that answer several, the one to read; "" for each apart.
        skip_wrong: leave wrong lines out, and name them.

    Raises:
        BadComparisons: the file or one of its lines is wrong.
        NotAPreferenceModel: the checkpoint cannot score.
    """
    comparisons = some(comparisons_of(file, question, skip_wrong), limit, seed)
    from munro.base_model.hub import folder_of
    from munro.evaluation.judges.lines import of_places
    from munro.evaluation.judges.pairs import figures_by_subset, places, table_of
    from munro.rewards.preference import PreferenceModel

    folder = folder_of(model)
    if base_url:
        scorer = PreferenceModel.connect(base_url, str(folder), tokenizer=folder)
    else:
        scorer = PreferenceModel.load(folder)
    judged = [one for one in comparisons if one.pairs]
    if not judged:
        raise BadComparisons(f"{file}: people prefer nothing in it: all are ties")
    scores = _in_turn(judged, lambda sets: scorer.score_many(sets))
    click.echo("\n".join(table_of(figures_by_subset(judged, scores))))
    if ties := len(comparisons) - len(judged):
        click.echo(f"{ties} ties of people's are left out")
    click.echo("of one reading in one order, which rewards are not made of:")
    read = places(judged, lambda sets: scorer.score_without_rotation(sets))
    click.echo("\n".join(of_places(read)) or "there are no pairs")
    return 0


def _in_turn(
    comparisons: Sequence[Comparison], score: Callable[[Sequence[Any]], list[list[float]]]
) -> list[list[float]]:
    found: list[list[float]] = []
    for start in range(0, len(comparisons), SETS_AT_ONCE):
        now = comparisons[start : start + SETS_AT_ONCE]
        found += score([(one.context, one.candidates) for one in now])
    return found


def _require_one_question(file: str, comparisons: Sequence[Comparison]) -> None:
    asked = sorted({one.question for one in comparisons})
    if len(asked) > 1:
        raise BadComparisons(
            f"{file} answers several questions about the same candidates: say which one is to be "
            f"learned, with --question {' or --question '.join(filter(None, asked))}"
        )


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
