"""`munro judge test`: a judge, a pattern or a preference model against people, before it is paid.

Labels of responses say how far it agrees with each rater, beside how far the raters agree; files of
comparisons say how often it prefers what people preferred, and what a place buys. Asked a second
time, a judge may say otherwise. Whatever its figures, it is called better than chance only where an
interval says so.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import compress, islice

import numpy as np

from munro.evaluation.agreement import Level
from munro.evaluation.judges.asking import Answers, CannotTest, Cost, Subject, ask, at_once
from munro.evaluation.judges.figures import JudgeFigures, figures
from munro.evaluation.judges.labels import Labels
from munro.evaluation.judges.pairs import (
    PairFigures,
    Places,
    Scores,
    figures_by_subset,
    places_of,
    share,
)
from munro.evaluation.judges.stretched import Stretch, stretch_of, with_idle_turns
from munro.evaluation.statistics import Estimate
from munro.rewards.errors import EpisodeError
from munro.rewards.kinds import find, make
from munro.rewards.preference.comparison import Comparison
from munro.rewards.types import Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a test is made.

    Example:
        How(figure="compliance", flip=True)
    """

    figure: str = ""
    """What of a grade is held against people: "passed", "reward" or a part's name; "" for the
    verdict where labels are verdicts, else the reward."""
    flip: bool = False
    """Take 1 less the figure: people say how bad, the judge how good."""
    figure_from: float = 0.5
    """From which value a figure that is no verdict is one."""
    label_from: float | None = None
    """From which value people's grades are verdicts; None takes them as grades."""
    level: Level | None = None
    """Of agreement; nominal for verdicts, ordinal for grades unless given."""
    again: int = 100
    """Responses that are asked a second time."""
    bias: int = 20
    """Transcripts that are also shown among harmless turns, their work early and late."""
    seed: int = 0
    """Of which ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsReport:
    """A judge beside people's labels."""

    figures: JudgeFigures
    failures: Counter[str]
    flips: Estimate | None
    """Share of those asked twice that came out differently; None where nobody was."""
    asked_twice: int
    cost: Cost
    stretch: Stretch | None = None
    """What place and length buy; None where the judge reads no transcripts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsReport:
    """A judge, or a preference model, beside people's preferences."""

    figures: dict[str, PairFigures]
    places: Places | None
    num_ties: int
    """Of people; they count nowhere."""
    failures: Counter[str]
    flips: Estimate | None
    asked_twice: int
    cost: Cost


def against_labels(subject: Subject, labels: Labels, how: How) -> LabelsReport:
    """A judge against people's labels.

    Raises:
        CannotTest: it takes other fields than the rows have, says no such figure, or judged
            nothing.
        ValueError: its options are wrong.
        EpisodeError: it cannot be had at all.
    """
    rating_RN = labels.ratings
    if how.label_from is not None:
        rating_RN = np.where(np.isnan(rating_RN), np.nan, rating_RN >= how.label_from)
    are_verdicts = bool(np.isin(rating_RN[~np.isnan(rating_RN)], (0, 1)).all())
    answers = ask(subject, labels.items, labels.numbers, labels.path)
    judge_N = [_figure(grade, how, are_verdicts) for grade in answers.grades]
    if all(map(math.isnan, judge_N)):
        reason, _ = (answers.failures.most_common(1) or [("it says nothing", 1)])[0]
        raise CannotTest(f"the judge judged none of {len(judge_N)} responses: {reason}")
    chosen = _second(subject, len(labels.items), how)
    flips = None
    if chosen:
        again = _again(subject, labels, chosen)
        second = [_figure(grade, how, are_verdicts) for grade in again.grades]
        flips = _flips([judge_N[at] for at in chosen], second, _of(labels.clusters, chosen))
    return LabelsReport(
        figures=figures(
            judge_N,
            rating_RN,
            raters=labels.raters,
            clusters=labels.clusters,
            level=how.level,
        ),
        failures=answers.failures,
        flips=flips,
        asked_twice=len(chosen),
        cost=answers.cost,
        stretch=_stretch(subject, labels, judge_N, how, are_verdicts),
    )


def against_pairs(subject: Subject, comparisons: Sequence[Comparison], how: How) -> PairsReport:
    """A judge who compares, or a preference model, against people's preferences.

    Pairs are shown in both orders, and a candidate's score is the mean of the two: what a place
    buys is told apart, and buys nothing. Of more than two candidates every rotation is shown.

    Raises:
        CannotTest: it compares nothing, or judged nothing.
        ValueError: its options are wrong.
        EpisodeError: it cannot be had at all.
    """
    if not hasattr(find(subject.kind), "as_shown"):
        raise CannotTest(
            f"{subject.kind} grades one response at a time, and these are comparisons: take "
            "judge_preference for a judge, or preference for a preference model."
        )
    judged = [one for one in comparisons if one.pairs]
    if not judged:
        raise CannotTest("people prefer nothing in these comparisons: all are ties.")
    looks = [_looks(one) for one in judged]
    found, cost = _looked(subject, [look for each in looks for look in each])
    rows = _parted(found, [len(each) for each in looks])
    failures = Counter(str(each) for each in found if isinstance(each, EpisodeError))
    scores = [_mean(row, each) for row, each in zip(rows, looks, strict=True)]
    if all(each is None for each in scores):
        reason, _ = failures.most_common(1)[0]
        raise CannotTest(f"the judge judged none of {len(judged)} comparisons: {reason}")
    contexts = [one.context for one in judged]
    chosen, flips = _second(subject, len(judged), how), None
    if chosen:
        again, _ = _looked(subject.afresh(), [looks[at][0] for at in chosen])
        first = [_winner(rows[at][0]) for at in chosen]
        flips = _flips(first, list(map(_winner, again)), _of(contexts, chosen))
    is_pair = [len(one.candidates) == 2 for one in judged]
    return PairsReport(
        figures=figures_by_subset(judged, scores),
        places=places_of(
            [(_known(row[0]), _known(row[1])) for row in compress(rows, is_pair)],
            list(compress(contexts, is_pair)),
        ),
        num_ties=len(comparisons) - len(judged),
        failures=failures,
        flips=flips,
        asked_twice=len(chosen),
        cost=replace(cost, asked=len(judged)),
    )


def _figure(grade: Grade | None, how: How, are_verdicts: bool) -> float:
    """What of a grade is compared; NaN where there is none."""
    if grade is None:
        return math.nan
    name = how.figure or ("passed" if are_verdicts and grade.passed is not None else "reward")
    if name == "passed":
        if grade.passed is None:
            raise CannotTest("the judge has no verdict: name another --figure, such as reward.")
        value = float(grade.passed)
    elif name == "reward":
        value = grade.reward
    elif name in grade.parts:
        value = grade.parts[name]
    else:
        there = ", ".join(["passed", "reward", *sorted(grade.parts)])
        raise CannotTest(f"the judge tells no figure {name!r}: there are {there}.")
    value = 1 - value if how.flip else value
    return float(value >= how.figure_from) if are_verdicts else value


def _second(subject: Subject, count: int, how: How) -> list[int]:
    """Which rows are asked a second time: none where nothing could come out differently."""
    if not subject.asks_a_judge or how.again <= 0:
        return []
    return sorted(random.Random(how.seed).sample(range(count), min(how.again, count)))


def _again(subject: Subject, labels: Labels, chosen: Sequence[int]) -> Answers:
    return ask(
        subject.afresh(),
        [labels.items[at] for at in chosen],
        [labels.numbers[at] for at in chosen],
        labels.path,
    )


def _stretch(
    subject: Subject, labels: Labels, judge_N: Sequence[float], how: How, are_verdicts: bool
) -> Stretch | None:
    """The same transcripts among harmless turns, for a judge of such."""
    is_required = find(subject.kind).kind.fields.get("transcript")
    if is_required is None or not is_required.is_required or how.bias <= 0:
        return None
    count = len(labels.items)
    chosen = sorted(random.Random(how.seed).sample(range(count), min(how.bias, count)))

    def among_idle_turns(*, early: bool) -> list[float]:
        items = [
            {**item, "transcript": with_idle_turns(item["transcript"], early=early)}
            for item in (labels.items[at] for at in chosen)
        ]
        answers = ask(subject, items, [labels.numbers[at] for at in chosen], labels.path)
        return [_figure(grade, how, are_verdicts) for grade in answers.grades]

    return stretch_of(
        [judge_N[at] for at in chosen],
        among_idle_turns(early=True),
        among_idle_turns(early=False),
        _of(labels.clusters, chosen),
    )


def _flips(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable]
) -> Estimate | None:
    both = [not (math.isnan(a) or math.isnan(b)) for a, b in zip(first, second, strict=True)]
    if not any(both):
        return None
    pairs = compress(zip(first, second, strict=True), both)
    return share([float(a != b) for a, b in pairs], list(compress(clusters, both)))


def _of(values: Sequence[Hashable], chosen: Sequence[int]) -> list[Hashable]:
    return [values[at] for at in chosen]


Look = tuple[str, list[str], list[int]]
"""A context, candidates in the order shown, and which of the comparison's each is."""
Seen = list[float] | EpisodeError


def _looks(comparison: Comparison) -> list[Look]:
    """Every rotation: of two candidates, both orders."""
    size = len(comparison.candidates)
    orders = [[(first + at) % size for at in range(size)] for first in range(size)]
    return [
        (comparison.context, [comparison.candidates[i] for i in order], order) for order in orders
    ]


def _looked(subject: Subject, looks: Sequence[Look]) -> tuple[list[Seen], Cost]:
    with make(subject.kind, **subject.options) as grader:
        as_shown: Callable[[str, list[str]], list[float]] = getattr(grader, "as_shown")  # noqa: B009
        return at_once(subject, grader, lambda look: as_shown(look[0], look[1]), looks)


def _parted(found: Sequence[Seen], sizes: Sequence[int]) -> list[list[Seen]]:
    rest = iter(found)
    return [list(islice(rest, size)) for size in sizes]


def _mean(row: Sequence[Seen], looks: Sequence[Look]) -> Scores:
    """Each candidate's mean over the orders; None where a look failed."""
    total = np.zeros(len(looks))
    for scores, (_, _, order) in zip(row, looks, strict=True):
        if isinstance(scores, EpisodeError):
            return None
        total[order] += scores
    mean: list[float] = (total / len(looks)).tolist()
    return mean


def _known(scores: Seen) -> Scores:
    return None if isinstance(scores, EpisodeError) else scores


def _winner(scores: Seen) -> float:
    """Place of the best; between two that are level, half way. NaN where there is none."""
    if isinstance(scores, EpisodeError):
        return math.nan
    top = [at for at, score in enumerate(scores) if score == max(scores)]
    return sum(top) / len(top)
