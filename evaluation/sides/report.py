"""What a study says: which is better, by how much, and how far raters and page can be trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from munro.evaluation.agreement import Level, alpha_interval
from munro.evaluation.sides.figures import Sample, column, fitted, per_doubling, sample_of
from munro.evaluation.sides.raters import Rater, raters_of
from munro.evaluation.sides.ratings import Rating, Ratings
from munro.evaluation.sides.tasks import told
from munro.evaluation.sides.types import BadSides, Kind
from munro.evaluation.statistics import Estimate

LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """How both are graded by one criterion, 0 (major issue) to 2 (none)."""

    name: str
    a: Estimate
    b: Estimate
    difference: Estimate
    """B less A."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A study's figures.

    Example:
        report_of(read_ratings(Path("sides/larch"))).preference     # B over A, in [-1.5, 1.5]
    """

    a: str
    b: str
    rated: int
    """Tasks that somebody rated."""
    equal: int
    """Tasks whose answers are equal: ties."""
    unrated: int
    ratings: int
    preference: Estimate
    left: Estimate
    """What standing on the left is worth, on the same scale."""
    win: Estimate
    """Share of tasks where B is better, free of the side."""
    tie: Estimate
    loss: Estimate
    criteria: tuple[Criterion, ...]
    per_doubling: Estimate | None
    """What an answer twice as long multiplies the odds of being preferred by."""
    alpha: Mapping[str, Estimate | str]
    """By level; why not where there is none."""
    raters: tuple[Rater, ...]
    without: tuple[str, ...]
    """Raters that were left out."""
    preference_without: Estimate | None
    """Without the raters to look at; None where there are none, or nobody else."""
    missing: tuple[str, ...]
    differing: tuple[str, ...]
    num_names: int

    def as_json(self) -> dict[str, Any]:
        """Plain data; an end that is endless is null."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain


def report_of(found: Ratings, *, without: Sequence[str] = ()) -> Report:
    """All figures of a study as far as it has been rated.

    Args:
        found: the study.
        without: raters to leave out.

    Raises:
        BadSides: nothing was rated, or there is no such rater.
    """
    if unknown := [name for name in without if name not in found.asked.raters]:
        raise BadSides(
            f"there is no rater {unknown[0]!r}: there are {', '.join(found.asked.raters)}."
        )
    out = frozenset(without)
    ratings = found.of(Kind.FIRST, without=out)
    if not ratings:
        raise BadSides(f"nothing of {found.name} has been rated yet.")
    raters = raters_of(found)
    num_equal = len(found.key.equal)
    sample = sample_of(ratings, num_equal)
    preference, left = _preference(ratings, sample, num_equal)
    doubtful = {rater.name for rater in raters if rater.to_look_at} - out
    rest = found.of(Kind.FIRST, without=out | doubtful)
    rated = len({one.pair for one in ratings})
    num_pairs = sum(not is_check for is_check in _checks(found))
    return Report(
        a=found.key.a,
        b=found.key.b,
        rated=rated,
        equal=num_equal,
        unrated=num_pairs - rated,
        ratings=len(ratings),
        preference=preference,
        left=left,
        win=_share(ratings, sample, num_equal, 1),
        tie=_share(ratings, sample, num_equal, 0),
        loss=_share(ratings, sample, num_equal, -1),
        criteria=tuple(_criterion(name, ratings) for name in found.asked.criteria),
        per_doubling=_length(found, ratings),
        alpha={level: _alpha(ratings, level) for level in LEVELS},
        raters=tuple(raters),
        without=tuple(without),
        preference_without=(
            _preference(rest, sample_of(rest, num_equal), num_equal)[0]
            if doubtful and rest
            else None
        ),
        missing=found.key.missing,
        differing=found.key.differing,
        num_names=found.key.num_names,
    )


def lines(report: Report) -> Iterator[tuple[str, str]]:
    """What a person is told: name and value."""
    b, a = _short(report.b, report.a)
    yield "compared", f"{b} with {a}"
    yield "tasks", _tasks(report)
    if report.without:
        yield "left out", ", ".join(report.without)
    better = f"{b} is better" if report.preference.mean > 0 else f"{a} is better"
    sure = report.preference.low > 0 or report.preference.high < 0
    if report.preference.low == -math.inf:
        better = "of one rater, nothing follows for others"
    elif not sure:
        better = "neither can be said to be better"
    yield "preference", f"{_signed(report.preference)} of [-1.5, 1.5]: {better}"
    shares = "/".join(f"{100 * one.mean:.0f}" for one in (report.win, report.tie, report.loss))
    yield "win/tie/loss", f"{shares} (of {b}; wins {_percent(report.win)})"
    for one in report.criteria:
        sides = f"{one.b.mean:.2f} against {one.a.mean:.2f}"
        yield one.name, f"{sides} of 2, difference {_signed(one.difference)}"
    yield "left side", f"{_signed(report.left)}: what standing there is worth, taken out above"
    yield "length", _told_length(report.per_doubling)
    for level, estimate in report.alpha.items():
        told_alpha = estimate if isinstance(estimate, str) else str(estimate)
        yield f"alpha, {level}", told_alpha
    for rater in report.raters:
        yield f"rater {rater.name}", _told_rater(rater)
    for rater in report.raters:
        for why in rater.to_look_at:
            yield "look at", f"{rater.name}: {why}"
    if report.preference_without is not None:
        yield "without these", f"preference {_signed(report.preference_without)}"


def _tasks(report: Report) -> str:
    said = [f"{report.rated:,} rated ({report.ratings:,} ratings)"]
    if report.unrated:
        said.append(f"{report.unrated:,} not yet")
    if report.equal:
        said.append(f"{report.equal:,} with equal answers, which are ties")
    if report.missing:
        said.append(f"{len(report.missing):,} with one answer alone ({told(report.missing)})")
    if report.differing:
        said.append(f"{len(report.differing):,} with other prompts left out")
    return ", ".join(said)


def _told_rater(rater: Rater) -> str:
    said = [f"{rater.done:,} of {rater.total:,}"]
    if rater.done:
        said.append(f"{rater.seconds:.0f} s a pair")
    if rater.left is not None:
        said.append(f"left {rater.left.mean:+.2f}")
    if rater.checks:
        said.append(f"checks failed {rater.failed} of {rater.checks}")
    if rater.repeats:
        said.append(f"contradicts himself {rater.opposite} of {rater.repeats}")
    if rater.against_rest is not None:
        said.append(f"with the others {rater.against_rest.mean:.2f}")
    return ", ".join(said)


def _told_length(found: Estimate | None) -> str:
    if found is None:
        return "what it does cannot be told from these"
    return (
        f"twice as long multiplies the odds of being preferred by {found.mean:.2f} "
        f"[{found.low:.2f}, {found.high:.2f}]; told, not corrected"
    )


def _preference(
    ratings: Sequence[Rating], sample: Sample, num_equal: int
) -> tuple[Estimate, Estimate]:
    return fitted(column(ratings, lambda one: one.score, num_equal), sample)


def _share(ratings: Sequence[Rating], sample: Sample, num_equal: int, sign: int) -> Estimate:
    """Share of tasks whose raters say so; equal answers are ties."""
    value_I = column(ratings, lambda one: float(np.sign(one.score) == sign), num_equal)
    if num_equal and sign == 0:
        value_I[-num_equal:] = 1.0
    found, _ = fitted(value_I, sample)
    ends = [float(np.clip(end, 0, 1)) for end in (found.mean, found.low, found.high)]
    return Estimate(mean=ends[0], low=ends[1], high=ends[2])


def _criterion(name: str, ratings: Sequence[Rating]) -> Criterion:
    having = [one for one in ratings if name in one.grades_a and name in one.grades_b]
    sample = sample_of(having)
    a, b = (np.array([getattr(one, of)[name] for one in having], float) for of in GRADES)
    # the side of the one that is graded, which is the other way round for A
    return Criterion(
        name=name,
        a=fitted(a, sample)[0],
        b=fitted(b, sample)[0],
        difference=fitted(b - a, sample)[0],
    )


GRADES = ("grades_a", "grades_b")


def _length(found: Ratings, ratings: Sequence[Rating]) -> Estimate | None:
    decided = [one for one in ratings if one.score]
    if not decided:
        return None
    longer = {}
    for pair in {one.pair for one in decided}:
        a, b = (max(len(text.strip()), 1) for text in found.texts(pair))
        longer[pair] = math.log2(b / a)
    return per_doubling(
        np.array([float(one.score > 0) for one in decided]),
        np.array([longer[one.pair] for one in decided]),
        sample_of(decided),
    )


def _alpha(ratings: Sequence[Rating], level: Level) -> Estimate | str:
    """Agreement on how much better B is, tasks resampled."""
    rater = {name: at for at, name in enumerate(dict.fromkeys(one.rater for one in ratings))}
    pair = {name: at for at, name in enumerate(dict.fromkeys(one.pair for one in ratings))}
    score_RN = np.full((len(rater), len(pair)), np.nan)
    for one in ratings:
        score_RN[rater[one.rater], pair[one.pair]] = one.score
    try:
        return alpha_interval(score_RN, level, resamples=RESAMPLES)
    except ValueError as error:
        return str(error)


def _checks(found: Ratings) -> list[bool]:
    """Of each pair, whether it is a check."""
    checks = {
        pair
        for rater, own in found.asked.lists.items()
        for (pair, _), kind in zip(own, found.key.kinds[rater], strict=True)
        if kind is Kind.CHECK
    }
    return [pair in checks for pair in range(len(found.asked.texts))]


def _short(b: str, a: str) -> tuple[str, str]:
    """Names of both: their last parts, where these differ."""
    ends = [name.rstrip("/").rpartition("/")[2] or name for name in (b, a)]
    if ends[0] != ends[1]:
        return ends[0], ends[1]
    return (b, a) if a != b else (f"{b} (B)", f"{a} (A)")


def _signed(one: Estimate) -> str:
    if not math.isfinite(one.low):
        return f"{one.mean:+.3f} (no interval)"
    return f"{one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def _percent(one: Estimate) -> str:
    return f"{100 * one.mean:.1f}% [{100 * one.low:.1f}, {100 * one.high:.1f}]"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
