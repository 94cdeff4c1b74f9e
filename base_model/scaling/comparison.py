"""Candidates against a baseline over a ladder: gains by category and cost, and who overtakes whom.

    comparison = compare(read_results(Path("results.jsonl")))
    comparison.column("flops", "weighted").gains["experts_doubled"].trend

MAI-Thinking-1 report, sections 2.2.2 (efficiency gain), 2.3 (the weighted target) and 2.5 (rank
non-invariance: a candidate that leads at one scale may trail at another).

The noise of a loss is pooled, column by column, over what the baseline leaves about its law and
each candidate about its trend: a ladder has too few rungs to know it from one curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np

from munro.base_model.results import ONLY_LOSS, WEIGHTED, BadResults, TrainedRun, columns
from munro.base_model.scaling.law import (
    HUBER,
    PARAMETERS,
    STEADY,
    Array,
    Fit,
    Gain,
    Noise,
    TooFewRungs,
    efficiency_gain,
    fit,
    trend_residuals,
)

CostKind = Literal["flops", "seconds"]
DEFAULT_BASELINE = "baseline"
AHEAD = 100.0
"""How far beyond the largest rung a crossing of trends is told of, as a factor of its cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """How runs are compared."""

    baseline: str = ""
    """Its name; unset, "baseline", or the first line's."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of the categories; empty for the report's."""
    reference: Mapping[str, float] = field(default_factory=dict)
    """Loss by set of the model that losses are divided by before they are weighted; empty for the
    baseline's costliest run."""
    noise: float = 0.0
    """Relative standard deviation between seeds, where it is known; 0 estimates it."""
    huber: float = HUBER
    level: float = 0.95
    steady: float = STEADY
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One loss over one kind of cost."""

    cost: CostKind
    name: str
    """A category, or "weighted"."""
    fit: Fit
    gains: Mapping[str, Gain]
    """By candidate, its runs in the order of their costs."""
    rungs: Mapping[str, tuple[str, ...]]
    """Of each candidate's runs."""
    losses: Mapping[str, Array]
    """Of each candidate's runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """Two that change places as the cost grows."""

    column: str
    small: str
    """Leads at the smaller rung."""
    large: str
    """Leads at the larger one."""
    from_rung: str
    to_rung: str
    """Empty where the trends cross beyond the ladder only."""
    at_cost: float | None = None
    """Where the trends cross, if they do beyond the ladder."""
    certain: bool
    """Beyond the noise at both ends, not at one alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that a ladder tells."""

    baseline: str
    candidates: tuple[str, ...]
    columns: tuple[Column, ...]
    flips: tuple[Flip, ...]
    notes: tuple[str, ...]
    """What the runs cannot tell, and why."""

    def column(self, cost: CostKind, name: str) -> Column:
        """One of `columns`."""
        return next(each for each in self.columns if (each.cost, each.name) == (cost, name))

    @property
    def headline(self) -> str:
        """The column that decides: "weighted", or the only one."""
        names = [each.name for each in self.columns]
        return WEIGHTED if WEIGHTED in names else names[0]

    @property
    def costs(self) -> tuple[CostKind, ...]:
        """Kinds of cost that every run has."""
        return tuple(dict.fromkeys(each.cost for each in self.columns))


def compare(runs: Sequence[TrainedRun], config: CompareConfig | None = None) -> Comparison:
    """Fit the baseline and measure every candidate against it.

    Raises:
        BadResults: there is no baseline of that name, no candidate, or too few rungs to fit.
    """
    config = config or CompareConfig()
    baseline = _baseline(runs, config.baseline)
    candidates = tuple(dict.fromkeys(run.name for run in runs if run.name != baseline))
    if not candidates:
        raise BadResults(f"every run is called {baseline!r}: there is no candidate to compare.")
    costliest = max((run for run in runs if run.name == baseline), key=lambda run: run.flops)
    losses = columns(runs, config.reference or costliest.losses, config.weights)
    kinds: list[CostKind] = ["flops"]
    notes = []
    if all(run.seconds for run in runs):
        kinds.append("seconds")
    else:
        notes.append("EG_Time is left out: not every run says how many seconds it took.")
    compared = tuple(
        _column(kind, name, runs, np.array(values), baseline, candidates, config)
        for kind in kinds
        for name, values in losses.items()
    )
    flips = [flip for each in compared if each.cost == "flops" for flip in _flips(each, baseline)]
    return Comparison(
        baseline=baseline,
        candidates=candidates,
        columns=compared,
        flips=tuple(flips),
        notes=(*notes, *_notes(compared)),
    )


def _baseline(runs: Sequence[TrainedRun], asked: str) -> str:
    names = list(dict.fromkeys(run.name for run in runs))
    if asked and asked not in names:
        raise BadResults(f"no run is called {asked!r}, the baseline; there are {', '.join(names)}.")
    return asked or (DEFAULT_BASELINE if DEFAULT_BASELINE in names else names[0])


def _column(
    kind: CostKind,
    name: str,
    runs: Sequence[TrainedRun],
    losses: Array,
    baseline: str,
    candidates: Sequence[str],
    config: CompareConfig,
) -> Column:
    costs = np.array([getattr(run, kind) for run in runs], float)
    order = np.argsort(costs, kind="stable")
    at = {one: [i for i in order if runs[i].name == one] for one in (baseline, *candidates)}
    own = at[baseline]
    noise = Noise(config.noise, math.inf) if config.noise else None
    try:
        if noise is None:
            noise = _pooled(costs, losses, at, baseline, config.huber)
        fitted = fit(
            costs[own],
            losses[own],
            noise=noise,
            huber=config.huber,
            draws=config.draws,
            level=config.level,
            seed=config.seed,
        )
    except TooFewRungs as error:
        raise BadResults(f"the baseline {baseline!r}: {error}") from error
    gains = {
        one: efficiency_gain(
            fitted,
            costs[at[one]],
            losses[at[one]],
            steady=config.steady,
            seed=config.seed + number,
        )
        for number, one in enumerate(candidates, 1)
    }
    return Column(
        cost=kind,
        name=name,
        fit=fitted,
        gains=gains,
        rungs={one: tuple(runs[i].rung for i in at[one]) for one in candidates},
        losses={one: losses[at[one]] for one in candidates},
    )


def _pooled(
    costs: Array,
    losses: Array,
    at: Mapping[str, Sequence[int]],
    baseline: str,
    huber: float,
) -> Noise:
    """The noise, from everything that the curves leave unexplained."""
    own = at[baseline]
    alone = fit(costs[own], losses[own], huber=huber, draws=0)
    residuals, unknowns = [alone.residuals], PARAMETERS
    for candidate, rows in at.items():
        if candidate == baseline:
            continue
        gain = efficiency_gain(alone, costs[rows], losses[rows])
        left = trend_residuals(alone, gain, losses[rows])
        if left is not None:
            residuals.append(left)
            unknowns += 2
    return Noise.of(residuals, unknowns)


def _flips(column: Column, baseline: str) -> list[Flip]:
    """Pairs whose order changes from one rung to a larger one, or will soon."""
    leads = {name: _by_rung(column, name) for name in column.gains}
    level = column.fit.level
    found = []
    for first, second in combinations((baseline, *column.gains), 2):
        shared = [
            rung
            for rung in leads[second]
            if (first == baseline or rung in leads[first]) and np.isfinite(leads[second][rung][0])
        ]
        # by how much the second leads, as measured and as drawn
        ahead = []
        for rung in shared:
            value, drawn = leads[second][rung]
            if first != baseline:
                with np.errstate(invalid="ignore"):  # two that are undefined are not compared
                    value, drawn = value - leads[first][rung][0], drawn - leads[first][rung][1]
            if math.isfinite(value):
                ahead.append((rung, value, _sure(drawn, value, level)))
        flip = _flip(column.name, first, second, ahead) or _crossing(column, first, second)
        if flip is not None:
            found.append(flip)
    return found


def _by_rung(column: Column, name: str) -> dict[str, tuple[float, Array]]:
    """Mean log gain of a candidate's runs at each rung, measured and drawn."""
    gain, rungs = column.gains[name], np.array(column.rungs[name])
    with np.errstate(divide="ignore", invalid="ignore"):
        values, drawn = np.log(gain.values), np.log(gain.drawn)
        return {
            str(rung): (float(values[rungs == rung].mean()), drawn[:, rungs == rung].mean(axis=1))
            for rung in dict.fromkeys(column.rungs[name])
        }


def _sure(drawn: Array, value: float, level: float) -> bool:
    known = drawn[~np.isnan(drawn)]
    return bool(len(known)) and bool((np.sign(known) == np.sign(value)).mean() >= level)


def _flip(
    column: str, first: str, second: str, ahead: Sequence[tuple[str, float, bool]]
) -> Flip | None:
    """The surest change of places, and of those the widest; none where all of it may be noise."""
    changes = [
        (small[2] and large[2], j - i, small, large)
        for (i, small), (j, large) in combinations(enumerate(ahead), 2)
        if small[1] * large[1] < 0 and (small[2] or large[2])
    ]
    if not changes:
        return None
    certain, _, small, large = max(changes, key=lambda change: change[:2])
    names = (second, first) if small[1] > 0 else (first, second)
    return Flip(
        column=column,
        small=names[0],
        large=names[1],
        from_rung=small[0],
        to_rung=large[0],
        certain=certain,
    )


def _crossing(column: Column, first: str, second: str) -> Flip | None:
    """Where the one that trails now will lead, if the noise leaves no doubt that it catches up."""
    lines = [_line(column.gains[name]) for name in (first, second) if name in column.gains]
    known = [line for line in lines if line is not None]
    if len(known) < len(lines):
        return None
    level, slope, drawn = known[-1]
    if len(known) == 2:
        other_level, other_slope, other_drawn = known[0]
        level, slope = level - other_level, slope - other_slope
        with np.errstate(invalid="ignore"):  # draws in which both are undefined say nothing
            drawn = drawn - other_drawn
    if level * slope >= 0 or not _sure(drawn, slope, column.fit.level):
        return None
    factor = math.exp(min(-level / slope, math.log(AHEAD) + 1))
    if factor > AHEAD:
        return None
    top = max(float(column.gains[name].costs.max()) for name in column.gains)
    names = (second, first) if level > 0 else (first, second)
    return Flip(
        column=column.name,
        small=names[0],
        large=names[1],
        from_rung=column.rungs[second][-1],
        to_rung="",
        at_cost=top * factor,
        certain=False,
    )


def _line(gain: Gain) -> tuple[float, float, Array] | None:
    """Log gain at the largest cost, its slope over the log of the cost, and the slope's draws."""
    if len(set(gain.costs)) < PARAMETERS or gain.undefined.any() or not len(gain.drawn):
        return None
    log_N = np.log(gain.costs)
    weights_N = (log_N - log_N.mean()) / ((log_N - log_N.mean()) ** 2).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        log_gain_N, drawn_B = np.log(gain.values), np.log(gain.drawn) @ weights_N
    slope = float(log_gain_N @ weights_N)
    level = float(log_gain_N.mean()) + slope * float(log_N.max() - log_N.mean())
    return level, slope, drawn_B


def _notes(compared: Sequence[Column]) -> list[str]:
    notes = []
    for each in compared:
        label = "" if each.name == ONLY_LOSS else f" of {each.name}"
        if not each.fit.noise.dof:
            notes.append(
                f"No intervals{label} over {each.cost}: three rungs fit any noise exactly. Run a "
                "fourth, or give the noise between seeds."
            )
        for name, gain in each.gains.items():
            if gain.undefined.any():
                rung = each.rungs[name][int(gain.undefined.argmax())]
                notes.append(
                    f"EG over {each.cost}{label} of {name} is undefined at rung {rung}: its loss is"
                    f" at or under the baseline's floor E = {each.fit.law.E:.4g}, which no cost of "
                    "the baseline's gets under."
                )
            elif gain.extrapolated.any():
                notes.append(
                    f"EG over {each.cost}{label} of {name} asks for the baseline's loss far beyond "
                    "its own rungs: train it there before believing it."
                )
    return notes
