"""How a loss falls with cost, and how much cost an idea saves: the scaling law, efficiency gain.

    law = fit(costs, losses)                       L = A * C**-alpha + E over a baseline's rungs
    gain = efficiency_gain(law, costs, losses)     what the baseline would have paid, over C'

MAI-Thinking-1 report, section 2.2.2, Eqs. 1 and 2. The report does not say how it fits, nor gives
intervals; both are ours. The fit is robust: Huber's loss on log L. For a given alpha the best A and
E are a weighted linear problem of two unknowns, solved in closed form within A, E >= 0, so that
only alpha is searched, over a whole grid first: no start to choose, no local minimum to end in.

The intervals come from fits to redrawn losses. A ladder has few rungs, so its noise is itself badly
known: every draw scales it by sqrt(dof / chi-squared(dof)), which for a linear law gives Student's
intervals exactly. Four rungs leave one degree of freedom, and intervals to match.

Shape suffixes: N = runs, B = draws, K = values of alpha tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

ALPHAS = (0.01, 2.0)
"""Exponents that are tried. Without a floor the smallest is the log-log slope of the curve."""
HUBER = 5e-3
"""Relative error of a loss up to which it counts squared: a seed moves a loss by less."""
STEADY = 0.2
"""A gain that changes by less than this share over a tenfold cost holds."""
PARAMETERS = 3
FEWEST_RUNGS_OF_A_TREND = 3
_GRID, _ZOOMED, _REACH, _REWEIGHTINGS = 48, 9, 12, 3
_ZOOMS, _ZOOMS_OF_A_DRAW = 9, 7
LARGEST_LOG = 700.0
"""Its exponential is still a float."""
FAR = 2.0
"""The law is trusted this far beyond the costs that it was fitted to, as a factor."""
_MOST_AT_ONCE = 4_000_000


class TooFewRungs(ValueError):
    """A law of three unknowns was asked of fewer than three costs."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What a number lies in at the level asked for; NaN at both ends where nothing can be said."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Noise:
    """Relative standard deviation of a loss between runs that differ in their seed alone."""

    std: float
    dof: float
    """Degrees of freedom it was estimated with; infinite where it is known, 0 where it is not."""

    @classmethod
    def of(cls, residuals: Sequence[Array], num_parameters: int) -> Noise:
        """From the log residuals of several fits that used up so many parameters together."""
        squares = sum(float((some**2).sum()) for some in residuals)
        dof = sum(len(some) for some in residuals) - num_parameters
        return cls(math.sqrt(squares / dof), dof) if dof > 0 else cls(math.nan, 0)

    def stds(self, draws: int, rng: np.random.Generator) -> Array:
        """(B,) values that it may truly have."""
        if not self.dof or not math.isfinite(self.dof):
            return np.full(draws, self.std)
        scaled: Array = self.std * np.sqrt(self.dof / rng.chisquare(self.dof, draws))
        return scaled


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """L = A * C**-alpha + E. The three are numbers, or arrays (B,) of as many laws."""

    A: Any
    alpha: Any
    E: Any
    """The floor, which no cost gets under."""

    def loss(self, costs: ArrayLike) -> Array:
        """(..., N) losses at (N,) costs."""
        A, alpha, E = _columns(self)
        losses: Array = A * np.asarray(costs, float) ** -alpha + E
        return losses

    def cost(self, losses: ArrayLike) -> Array:
        """(..., N) costs of (N,) or (..., N) losses; infinite at or under the floor."""
        A, alpha, E = _columns(self)
        above = np.asarray(losses, float) - E
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            costs: Array = np.where(above > 0, (above / A) ** (-1 / alpha), math.inf)
        return costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A law, what it was fitted to, and laws that might as well be true."""

    law: PowerLaw
    costs: Array
    """(N,)"""
    losses: Array
    """(N,)"""
    noise: Noise
    drawn: PowerLaw
    """Of arrays (B,), empty where the noise is not known."""
    stds: Array
    """(B,) noise of each draw."""
    level: float

    @property
    def residuals(self) -> Array:
        """(N,) log of measured over fitted loss."""
        return np.log(self.losses / self.law.loss(self.costs))

    @property
    def intervals(self) -> dict[str, Interval]:
        """Of "A", "alpha" and "E"."""
        names = ("A", "alpha", "E")
        return {name: interval(getattr(self.drawn, name), self.level) for name in names}


def fit(
    costs: ArrayLike,
    losses: ArrayLike,
    *,
    noise: Noise | None = None,
    huber: float = HUBER,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Fit:
    """Fit L = A * C**-alpha + E.

    Args:
        costs: (N,) of any one unit.
        losses: (N,) of the runs at these costs; a cost may come several times.
        noise: what is known of it beforehand, or was pooled over several curves; unset, it is
            estimated from this curve alone, which three runs do not allow.
        huber: relative error of a loss from which it counts linearly.
        draws: redrawn curves that the intervals come from.
        level: of the intervals.
        seed: of the draws.

    Raises:
        TooFewRungs: fewer than three different costs.
        ValueError: a cost or a loss is not a positive number.
    """
    costs_N, losses_N = _checked(costs, losses)
    log_N = np.log(costs_N)
    centre = float(log_N.mean())
    law = _solve(log_N - centre, losses_N[None], huber, _ZOOMS)
    fitted_N = (law.A[:, None] * np.exp(-law.alpha[:, None] * (log_N - centre)) + law.E[:, None])[0]
    if noise is None:
        noise = Noise.of([np.log(losses_N / fitted_N)], PARAMETERS)
    rng = np.random.default_rng(seed)
    num_draws = draws if noise.dof else 0
    stds_B = noise.stds(num_draws, rng)
    redrawn_BN = fitted_N * np.exp(stds_B[:, None] * rng.standard_normal((num_draws, len(costs_N))))
    drawn = _solve(log_N - centre, redrawn_BN, huber, _ZOOMS_OF_A_DRAW)
    return Fit(
        law=PowerLaw(*(float(each[0]) for each in _at_cost_one(law, centre))),
        costs=costs_N,
        losses=losses_N,
        noise=noise,
        drawn=PowerLaw(*_at_cost_one(drawn, centre)),
        stds=stds_B,
        level=level,
    )


class Trend(StrEnum):
    """What becomes of a gain as the cost grows."""

    RISES = "rises"
    HOLDS = "holds"
    FALLS = "falls"
    UNKNOWN = "not enough rungs to say"
    UNDEFINED = "undefined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Efficiency gain of a candidate, run by run and as a trend."""

    costs: Array
    """(N,)"""
    values: Array
    """(N,) what the baseline would have paid for the candidate's loss, over what it paid; infinite
    where that loss is at or under the baseline's floor: undefined."""
    intervals: tuple[Interval, ...]
    drawn: Array
    """(B, N)"""
    extrapolated: NDArray[np.bool_]
    """(N,) the baseline's cost for that loss lies far outside the costs it was fitted to."""
    per_decade: float
    """Factor by which the gain changes when the cost grows tenfold; NaN where no trend is."""
    per_decade_interval: Interval
    trend: Trend
    why: str
    """Of the trend, in a few words."""

    @property
    def undefined(self) -> NDArray[np.bool_]:
        """(N,) the loss is at or under the baseline's floor, which no cost gets under."""
        return np.isinf(self.values)


def efficiency_gain(
    fitted: Fit, costs: ArrayLike, losses: ArrayLike, *, steady: float = STEADY, seed: int = 1
) -> Gain:
    """EG = f^-1(L') / C' of every run of a candidate, and the trend over its costs.

    Args:
        fitted: the baseline's law f.
        costs: (N,) in the unit of the baseline's.
        losses: (N,)
        steady: change of the gain over a tenfold cost up to which it holds.
        seed: of the draws of the candidate's own noise.

    Raises:
        ValueError: a cost or a loss is not a positive number.
    """
    costs_N, losses_N = _positive(costs, losses)
    needed_N = fitted.law.cost(losses_N)
    values_N = needed_N / costs_N
    rng = np.random.default_rng(seed)
    shape = (len(fitted.stds), len(costs_N))
    redrawn_BN = losses_N * np.exp(fitted.stds[:, None] * rng.standard_normal(shape))
    drawn_BN = fitted.drawn.cost(redrawn_BN) / costs_N
    slope, slope_interval = _slope(costs_N, values_N, drawn_BN, fitted.level)
    trend, why = _judge(costs_N, values_N, slope_interval, steady)
    return Gain(
        costs=costs_N,
        values=values_N,
        intervals=tuple(interval(column, fitted.level) for column in drawn_BN.T),
        drawn=drawn_BN,
        extrapolated=(needed_N * FAR < fitted.costs.min()) | (needed_N > FAR * fitted.costs.max()),
        per_decade=slope,
        per_decade_interval=slope_interval,
        trend=trend,
        why=why,
    )


def trend_residuals(fitted: Fit, gain: Gain, losses: ArrayLike) -> Array | None:
    """(N,) log residuals of a candidate about the baseline's law with its gain's trend in it.

    A gain that is a power of the cost makes the candidate's losses a curve of two unknowns more, so
    that its runs tell of the noise too. None where there is no such trend.
    """
    if len(set(gain.costs)) < FEWEST_RUNGS_OF_A_TREND or gain.undefined.any():
        return None
    log_N = np.log10(gain.costs)
    line = np.polynomial.Polynomial.fit(log_N, np.log(gain.values), 1)
    paid_N = gain.costs * np.exp(line(log_N))
    residuals: Array = np.log(np.asarray(losses, float) / fitted.law.loss(paid_N))
    return residuals


def interval(drawn: ArrayLike, level: float) -> Interval:
    """Between the quantiles that leave out (1 - level) / 2 on either side."""
    values = np.asarray(drawn, float)
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(math.nan, math.nan)
    # a quantile between two draws would be undefined where one of them is infinite
    tails = ((1 - level) / 2, (1 + level) / 2)
    low, high = np.quantile(values, tails, method="nearest")
    return Interval(float(low), float(high))


def _slope(
    costs_N: Array, values_N: Array, drawn_BN: Array, level: float
) -> tuple[float, Interval]:
    """Factor of the gain per tenfold cost, by least squares on its logarithm."""
    unknown = math.nan, Interval(math.nan, math.nan)
    if len(set(costs_N)) < 2 or not np.isfinite(values_N).all() or (values_N <= 0).any():
        return unknown
    log_N = np.log10(costs_N)
    weights_N = (log_N - log_N.mean()) / ((log_N - log_N.mean()) ** 2).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn_B = np.log(drawn_BN) @ weights_N
    own = interval(drawn_B, level)
    slope = float(np.log(values_N) @ weights_N)
    return math.exp(slope), Interval(_exp(own.low), _exp(own.high))


def _judge(costs_N: Array, values_N: Array, slope: Interval, steady: float) -> tuple[Trend, str]:
    if np.isinf(values_N).any():
        return Trend.UNDEFINED, "a loss at or under the baseline's floor"
    rungs = len(set(costs_N))
    if rungs < FEWEST_RUNGS_OF_A_TREND:
        return Trend.UNKNOWN, f"{rungs} rung{'s' * (rungs > 1)} only"
    if math.isnan(slope.low):
        return Trend.UNKNOWN, "nothing tells how noisy the losses are"
    if slope.low > 1:
        return Trend.RISES, ""
    if slope.high < 1:
        return Trend.FALLS, ""
    if slope.low > 1 / (1 + steady) and slope.high < 1 + steady:
        return Trend.HOLDS, ""
    return Trend.UNKNOWN, "too noisy for so few"


def _columns(law: PowerLaw) -> tuple[Array, Array, Array]:
    A, alpha, E = (np.asarray(each, float)[..., None] for each in (law.A, law.alpha, law.E))
    return A, alpha, E


def _exp(value: float) -> float:
    return math.inf if value > LARGEST_LOG else math.exp(value)


def _positive(costs: ArrayLike, losses: ArrayLike) -> tuple[Array, Array]:
    costs_N, losses_N = np.asarray(costs, float), np.asarray(losses, float)
    if costs_N.ndim != 1 or costs_N.shape != losses_N.shape or not len(costs_N):
        raise ValueError("give as many losses as costs, at least one")
    for name, values in (("cost", costs_N), ("loss", losses_N)):
        if bad := [value for value in values if not (value > 0 and math.isfinite(value))]:
            raise ValueError(f"a {name} is {bad[0]:g}: give positive numbers")
    return costs_N, losses_N


def _checked(costs: ArrayLike, losses: ArrayLike) -> tuple[Array, Array]:
    costs_N, losses_N = _positive(costs, losses)
    if (rungs := len(set(costs_N))) < PARAMETERS:
        raise TooFewRungs(
            f"{rungs} rung{'s' * (rungs > 1)} cannot show A, alpha and the floor E: a fit takes 3 "
            "different costs, an interval 4."
        )
    return costs_N, losses_N


def _at_cost_one(law: PowerLaw, centre: float) -> tuple[Array, Array, Array]:
    """The law over costs, from the law over costs divided by exp(centre)."""
    return law.A * np.exp(law.alpha * centre), law.alpha, law.E


def _solve(log_N: Array, losses_BN: Array, huber: float, zooms: int) -> PowerLaw:
    """The best law of each row of losses, over costs whose logarithms are centred on 0."""
    at_once = max(1, _MOST_AT_ONCE // (_GRID * len(log_N)))
    parts = [(np.empty(0),) * PARAMETERS] + [
        _solve_at_once(log_N, losses_BN[start : start + at_once], huber, zooms)
        for start in range(0, len(losses_BN), at_once)
    ]
    return PowerLaw(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _solve_at_once(
    log_N: Array, losses_BN: Array, huber: float, zooms: int
) -> tuple[Array, Array, Array]:
    """Least squares over a whole grid of alphas, then Huber's loss ever closer around its best."""
    low, high = ALPHAS
    rows = np.arange(len(losses_BN))
    grid_K = np.geomspace(low, high, _GRID)
    alpha_B = grid_K[_squares(grid_K, log_N, losses_BN).argmin(-1)]
    # wide enough for a wild run to have led least squares astray
    reach = _REACH * math.log(high / low) / (_GRID - 1)
    for _ in range(zooms + 1):
        around_K = np.exp(reach * np.linspace(-1, 1, _ZOOMED))
        alpha_BK = np.clip(alpha_B[:, None] * around_K, low, high)
        A_BK, E_BK, cost_BK = _given_alpha(alpha_BK, log_N, losses_BN, huber)
        best_B = cost_BK.argmin(-1)
        alpha_B = alpha_BK[rows, best_B]
        reach /= (_ZOOMED - 1) / 2
    return A_BK[rows, best_B], alpha_B, E_BK[rows, best_B]


def _squares(alpha_K: Array, log_N: Array, losses_BN: Array) -> Array:
    """(B, K) sum of squared relative errors, as products of matrices."""
    basis_KN = np.exp(-alpha_K[:, None] * log_N)
    inverse_BN = 1 / losses_BN
    weight_BN = inverse_BN**2
    one, x, xx = (weight_BN @ (basis_KN**power).T for power in range(PARAMETERS))
    y, xy = (inverse_BN @ (basis_KN**power).T for power in range(2))
    A, E = _within_bounds(one, x, xx, y, xy)
    squares: Array = A * (A * xx + 2 * E * x - 2 * xy) + E * (E * one - 2 * y)
    return squares


def _given_alpha(
    alpha_BK: Array, log_N: Array, losses_BN: Array, huber: float
) -> tuple[Array, Array, Array]:
    """(B, K) best A and E for each alpha, and Huber's loss of the log residuals.

    Reweighted least squares of two unknowns: log f is replaced by its tangent at the last f, and
    residuals beyond `huber` are weighted down.
    """
    basis_BKN = np.exp(-alpha_BK[..., None] * log_N)
    losses_B1N = losses_BN[:, None]
    weight, target = 1 / losses_B1N**2, losses_B1N
    for _ in range(_REWEIGHTINGS):
        A_BK, E_BK = _two_unknowns(basis_BKN, weight, target)
        fitted_BKN = A_BK[..., None] * basis_BKN + E_BK[..., None]
        residual_BKN = np.log(fitted_BKN / losses_B1N)
        size_BKN = np.abs(residual_BKN)
        weight = np.minimum(1, huber / np.maximum(size_BKN, 1e-300)) / fitted_BKN**2
        target = fitted_BKN * (1 - residual_BKN)
    linear_BKN = huber * (size_BKN - huber / 2)
    cost_BKN = np.where(size_BKN <= huber, size_BKN**2 / 2, linear_BKN)
    return A_BK, E_BK, cost_BKN.sum(-1)


def _two_unknowns(basis: Array, weight: Array, target: Array) -> tuple[Array, Array]:
    """A, E >= 0 that minimise sum(weight * (A * basis + E - target)**2) over the last axis."""
    weighted, towards = weight * basis, weight * target
    one = (weight + np.zeros_like(basis)).sum(-1)
    x, xx = weighted.sum(-1), (weighted * basis).sum(-1)
    y, xy = (towards + np.zeros_like(basis)).sum(-1), (towards * basis).sum(-1)
    return _within_bounds(one, x, xx, y, xy)


def _within_bounds(one: Array, x: Array, xx: Array, y: Array, xy: Array) -> tuple[Array, Array]:
    """A and E >= 0 from the sums of the normal equations."""
    determinant = one * xx - x * x
    A, E = (one * xy - x * y) / determinant, (xx * y - x * xy) / determinant
    A, E = np.where(E > 0, A, xy / xx), np.where(E > 0, E, 0.0)
    return np.where(A > 0, A, 0.0), np.where(A > 0, E, y / one)
