"""Each rater by himself and against the rest, and what of it somebody should look at."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from munro.evaluation.sides.ratings import Rating, Ratings
from munro.evaluation.sides.types import Kind
from munro.evaluation.statistics import Estimate, mean_of, t_quantile

FEWEST = 10
"""Ratings before anything is held against a rater."""
SAME = 0.9
"""Share of one answer that is too much."""
FAST_S = 2.0
"""Median seconds a pair that nobody can read in."""
FAILED = 1 / 3
"""Share of checks, and of repeats with the opposite answer, that is too much."""
LEFT = 0.25
"""Of the scale of 1.5, a side's worth that is too much where it is sure (99%)."""
SURE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Rater:
    """One rater.

    Example:
        rater.to_look_at      # ["gives 3 in 100% of 40 pairs"]
    """

    name: str
    done: int
    """Pairs finished, repeats and checks among them."""
    total: int
    seconds: float
    """Median from being shown to being finished."""
    left: Estimate | None
    """What the left side is worth to this rater."""
    failed: int
    checks: int
    opposite: int
    """Repeats answered the other way round."""
    repeats: int
    against_rest: Estimate | None
    """Correlation with the mean of the others on the same pairs."""
    to_look_at: tuple[str, ...]
    """Why somebody should; empty where all is well."""


def raters_of(found: Ratings) -> list[Rater]:
    """All raters, in the order of the study."""
    by_rater: dict[str, list[Rating]] = defaultdict(list)
    for one in found.ratings:
        by_rater[one.rater].append(one)
    rest = {
        rater: _against_rest(rater, by_rater[rater], found.of(Kind.FIRST))
        for rater in found.asked.raters
    }
    known = [one.mean for one in rest.values() if one is not None]
    usual = median(known) if known else 0.0
    return [
        _rater(found, rater, by_rater[rater], rest[rater], usual) for rater in found.asked.raters
    ]


def _rater(
    found: Ratings, name: str, own: Sequence[Rating], rest: Estimate | None, usual: float
) -> Rater:
    first = [one for one in own if one.kind is Kind.FIRST]
    checks = [one for one in own if one.kind is Kind.CHECK]
    failed = sum(one.score >= 0 for one in checks)
    before = {one.pair: one.score for one in first}
    repeats = [
        (before[one.pair], one.score)
        for one in own
        if one.kind is Kind.AGAIN and one.pair in before
    ]
    opposite = sum(was * now < 0 for was, now in repeats)
    seconds = median(one.seconds for one in own) if own else math.nan
    left = _left(first)
    why = [
        *_same(first),
        *([f"takes {seconds:.1f} s a pair"] if len(own) >= FEWEST and seconds < FAST_S else ()),
        *_share_of("checks failed", failed, len(checks), fewest=2),
        *_share_of("repeats answered the other way round", opposite, len(repeats), fewest=3),
        *_leans(left),
        *_apart(rest, usual, len(first)),
        *_sent(found.refused.get(name, ())),
        *_windows(found, name),
    ]
    return Rater(
        name=name,
        done=len(own),
        total=len(found.asked.lists[name]),
        seconds=seconds,
        left=left,
        failed=failed,
        checks=len(checks),
        opposite=opposite,
        repeats=len(repeats),
        against_rest=rest,
        to_look_at=tuple(why),
    )


def _same(first: Sequence[Rating]) -> list[str]:
    if len(first) < FEWEST:
        return []
    # as it was clicked: 1 to 7 from the left
    clicked = Counter(round(4 - 2 * one.towards_left) for one in first)
    answer, count = clicked.most_common(1)[0]
    share = count / len(first)
    return [f"gives {answer} in {share:.0%} of {len(first)} pairs"] if share >= SAME else []


def _share_of(what: str, count: int, total: int, *, fewest: int) -> list[str]:
    too_many = count >= fewest and count / max(total, 1) >= FAILED
    return [f"{count} of {total} {what}"] if too_many else []


def _left(first: Sequence[Rating], confidence: float = 0.95) -> Estimate | None:
    if len(first) < 3:
        return None
    return mean_of([[one.towards_left] for one in first], confidence=confidence)


def _leans(left: Estimate | None) -> list[str]:
    if left is None or not math.isfinite(left.low) or abs(left.mean) < LEFT:
        return []
    # the interval was one of 95%; a sure one is about a third wider
    wider = t_quantile(SURE, 1000) / t_quantile(0.95, 1000)
    if abs(left.mean) <= (left.high - left.low) / 2 * wider:
        return []
    side = "left" if left.mean > 0 else "right"
    return [f"leans to the {side} by {abs(left.mean):.2f}"]


def _against_rest(name: str, own: Sequence[Rating], all_first: Sequence[Rating]) -> Estimate | None:
    """Correlation with the mean of the others, Fisher's interval; None of too few pairs."""
    others: Mapping[int, list[float]] = defaultdict(list)
    for one in all_first:
        if one.rater != name:
            others[one.pair].append(one.score)
    pairs = [
        (one.score, fmean(others[one.pair]))
        for one in own
        if one.kind is Kind.FIRST and one.pair in others
    ]
    if len(pairs) < FEWEST:
        return None
    x, y = np.array(pairs).T
    if np.ptp(y) == 0:
        return None
    if np.ptp(x) == 0:  # who always says the same goes with nobody
        return Estimate(mean=0.0, low=0.0, high=0.0)
    mean = float(np.clip(np.corrcoef(x, y)[0, 1], -0.999999, 0.999999))
    half = t_quantile(SURE, len(pairs) - 2) / math.sqrt(len(pairs) - 3)
    low, high = (math.tanh(math.atanh(mean) + sign * half) for sign in (-1, 1))
    return Estimate(mean=mean, low=low, high=high)


def _apart(rest: Estimate | None, usual: float, num: int) -> list[str]:
    if rest is None or num < 2 * FEWEST or rest.high >= usual:
        return []
    return [f"goes with the others at {rest.mean:.2f}, where {usual:.2f} is usual"]


def _sent(said: Sequence[str]) -> list[str]:
    if not said:
        return []
    return [f"sent {len(said)} choices that the page does not offer ({said[0]})"]


def _windows(found: Ratings, name: str) -> list[str]:
    stale, several = found.stale[name], found.windows[name]
    if not stale and not several:
        return []
    late = f"{stale} clicks of one came late and were refused" if stale else ""
    both = f"{several} pairs were answered in two" if several else ""
    return [f"had two windows open: {', '.join(filter(None, (both, late)))}"]
