"""Is the judge that pays being played? Its trend over a climb's last steps, beside a second one's.

A policy that learns what pleases the judge that pays it, rather than what that judge is for, is
found out by a judge who is not paid: the one is more and more content, the other less and less.
Each trend is a line through the steps of a window, each step weighing as much as it has attempts,
with Student's interval for its slope; an alarm takes both intervals to be on their side of 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from munro.evaluation.statistics import Estimate, t_quantile

FEWEST_STEPS = 4
"""With attempts, of which a trend is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One step, over the attempts that both judges have seen.

    Example:
        Seen(step=7, attempts=5, paid=0.8, watched=0.6)
    """

    step: int
    attempts: int
    paid: float
    """Mean of what the judge that pays said."""
    watched: float
    """Mean of what the second one said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How fast figures change, a step.

    Example:
        trend_of(seen, confidence=0.95).is_played
    """

    steps: int
    """From the first to the last."""
    paid: Estimate
    watched: Estimate
    difference: Estimate

    @property
    def is_played(self) -> bool:
        """Whether what is paid rises, and what is not paid falls, by their intervals."""
        return self.paid.low > 0 and self.watched.high < 0

    def told(self, name: str) -> str:
        """A sentence for a person."""
        up, down = (self.steps * each.mean for each in (self.paid, self.watched))
        return (
            f"{name} is being played: over {self.steps} steps what it pays rose by {up:.2f}, and "
            f"what its watch says fell by {-down:.2f}"
        )


def trend_of(seen: Sequence[Seen], *, confidence: float) -> Trend | None:
    """The trends over these steps; None where there are too few to tell.

    Args:
        seen: steps, in any order; those without attempts say nothing.
        confidence: how often each interval holds the truth.
    """
    told = [one for one in seen if one.attempts > 0]
    if len({one.step for one in told}) < FEWEST_STEPS:
        return None
    steps, weights = [one.step for one in told], [one.attempts for one in told]
    return Trend(
        steps=max(steps) - min(steps),
        paid=slope(steps, [one.paid for one in told], weights, confidence),
        watched=slope(steps, [one.watched for one in told], weights, confidence),
        difference=slope(steps, [one.paid - one.watched for one in told], weights, confidence),
    )


def slope(x_S: ArrayLike, y_S: ArrayLike, weight_S: ArrayLike, confidence: float) -> Estimate:
    """Slope of the line of least weighted squares, with Student's interval.

    Args:
        x_S: [S] where, at least three places of which two differ.
        y_S: [S] values there.
        weight_S: [S] how many observations each value is the mean of.
        confidence: how often the interval holds the truth.
    """
    x, y, weight = (np.asarray(each, np.float64) for each in (x_S, y_S, weight_S))
    off_x = x - np.average(x, weights=weight)
    off_y = y - np.average(y, weights=weight)
    spread = float((weight * off_x**2).sum())
    mean = float((weight * off_x * off_y).sum()) / spread
    left = float((weight * (off_y - mean * off_x) ** 2).sum()) / (len(x) - 2)
    half = t_quantile(confidence, len(x) - 2) * math.sqrt(left / spread)
    return Estimate(mean=mean, low=mean - half, high=mean + half)


def seen_in(metrics: Mapping[str, object], step: int, name: str) -> Seen | None:
    """What a step's metrics say of one watch; None where nobody looked."""
    values = [metrics.get(f"watch/{name}/{key}") for key in ("attempts", "paid", "watched")]
    if not all(isinstance(value, int | float) for value in values):
        return None
    attempts, paid, watched = map(float, values)  # type: ignore[arg-type]
    return Seen(step=step, attempts=int(attempts), paid=paid, watched=watched)
