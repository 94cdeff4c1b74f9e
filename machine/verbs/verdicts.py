"""What a comparison over a ladder says, in words and tables for a terminal and for a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from munro.base_model.results import ONLY_LOSS
from munro.base_model.scaling.comparison import Column, Comparison, CostKind, Flip
from munro.base_model.scaling.law import Gain, Interval, Trend

NAMES: dict[CostKind, str] = {"flops": "EG_FLOPs", "seconds": "EG_Time"}
COSTS: dict[CostKind, str] = {"flops": "training FLOPs", "seconds": "training seconds"}
MOST = 1e4
"""A larger gain is no figure that anybody should read digits of."""


def text(comparison: Comparison) -> str:
    """The whole verdict, for a terminal."""
    parts = ["\n".join(_kind(comparison, kind)) for kind in comparison.costs]
    if len(comparison.columns) > len(comparison.costs):
        parts.append("\n".join(_by_category(comparison)))
    parts += [f"rank flip: {sentence}" for sentence in flip_sentences(comparison.flips)]
    parts += [f"note: {note}" for note in comparison.notes]
    return "\n\n".join(parts)


def law(column: Column) -> str:
    """The baseline's law in one line."""
    fitted, bounds = column.fit, column.fit.intervals
    figures = ", ".join(
        f"{name} = {getattr(fitted.law, name):.4g} {span(bounds[name])}"
        for name in ("A", "alpha", "E")
    )
    noise = fitted.noise
    how = "given" if math.isinf(noise.dof) else f"from {noise.dof:.0f} degrees of freedom"
    spread = f"noise {noise.std:.2%} ({how})" if noise.dof else "noise unknown"
    return f"L = A C^-alpha + E over {COSTS[column.cost]}: {figures}; {spread}"


def value(gain: Gain, run: int) -> str:
    """Of one run, with its interval.

    Example:
        "1.19 [1.10, 1.28]"
    """
    if gain.undefined[run]:
        return "undefined"
    mark = "*" if gain.extrapolated[run] else ""
    return f"{figure(gain.values[run])}{mark} {span(gain.intervals[run])}"


def trend(gain: Gain) -> str:
    """The verdict, and what it rests on.

    Example:
        "holds, x1.02 [0.97, 1.07] per tenfold cost"
    """
    words = gain.trend.value + (f" ({gain.why})" if gain.why else "")
    if gain.trend is Trend.UNDEFINED or math.isnan(gain.per_decade):
        return words
    return f"{words}, x{figure(gain.per_decade)} {span(gain.per_decade_interval)} per tenfold cost"


def standing(gain: Gain) -> str:
    """Where the largest rung leaves the candidate: better, worse, or not told apart."""
    last = gain.intervals[-1]
    if gain.undefined[-1] or math.isnan(last.low):
        return "not measured"
    if last.low > 1:
        return "better"
    return "worse" if last.high < 1 else "no difference shown"


def flip_sentences(flips: Sequence[Flip]) -> list[str]:
    """Who overtakes whom, and whether the noise allows to say so; a change of places once."""
    columns: dict[Flip, list[str]] = {}
    for flip in flips:
        alike = replace(flip, column="", at_cost=flip.at_cost and float(f"{flip.at_cost:.0e}"))
        columns.setdefault(alike, []).append(flip.column)
    return [_flip_sentence(flip, names) for flip, names in columns.items()]


def _flip_sentence(flip: Flip, columns: Sequence[str]) -> str:
    where = f" of {', '.join(columns)}" if columns != [ONLY_LOSS] else ""
    if not flip.to_rung:
        return (
            f"{flip.small} leads {flip.large} in the loss{where} up to {flip.from_rung}, but the "
            f"trends cross near {flip.at_cost:.2g} FLOPs: train there before you choose."
        )
    sure = "" if flip.certain else " The noise allows the other reading too."
    return (
        f"{flip.small} leads {flip.large} in the loss{where} at {flip.from_rung}, {flip.large} "
        f"leads at {flip.to_rung}: small runs do not rank them for large ones.{sure}"
    )


def figure(number: float) -> str:
    """Three digits or so."""
    if math.isnan(number):
        return "?"
    if number > MOST:
        return "∞" if math.isinf(number) else f"over {MOST:g}"
    return f"{number:.3g}" if number >= 10 or number < 0.01 else f"{number:.2f}"


def span(bounds: Interval) -> str:
    """An interval; "[?]" where nothing can be said."""
    if math.isnan(bounds.low):
        return "[?]"
    return f"[{_bound(bounds.low)}, {_bound(bounds.high)}]"


def _bound(number: float) -> str:
    return f"{number:.3g}" if MOST < number < math.inf else figure(number)


def _kind(comparison: Comparison, kind: CostKind) -> Iterator[str]:
    column = comparison.column(kind, comparison.headline)
    what = "loss" if column.name == ONLY_LOSS else f"{column.name} loss"
    yield f"{NAMES[kind]} over {comparison.baseline}, {what}, {column.fit.level:.0%} intervals"
    yield law(column)
    yield from grid(rung_rows(column))
    for name, gain in column.gains.items():
        yield f"{name}: {standing(gain)} at {column.rungs[name][-1]}; {trend(gain)}"


def rung_rows(column: Column) -> list[list[str]]:
    """A row a rung, a column a candidate; a heading row first."""
    rungs = list(dict.fromkeys(rung for each in column.rungs.values() for rung in each))
    rows = [["", *column.gains]]
    for rung in rungs:
        cells = [
            "; ".join(value(gain, run) for run, own in enumerate(column.rungs[name]) if own == rung)
            for name, gain in column.gains.items()
        ]
        rows.append([rung, *cells])
    return rows


def category_rows(comparison: Comparison) -> list[list[str]]:
    """Gains at the largest rung, a row a category, as the report's Table 2 has them."""
    kinds = comparison.costs
    heading = [f"{name} {NAMES[kind]}" for name in comparison.candidates for kind in kinds]
    rows = [["at the largest rung", *heading]]
    for name in dict.fromkeys(each.name for each in comparison.columns):
        cells = [
            value(comparison.column(kind, name).gains[candidate], -1)
            for candidate in comparison.candidates
            for kind in kinds
        ]
        rows.append([name, *cells])
    return rows


def _by_category(comparison: Comparison) -> Iterator[str]:
    # one candidate a block: a terminal is not wide enough for all of them side by side
    rows = category_rows(comparison)
    per = len(comparison.costs)
    for number in range(len(comparison.candidates)):
        columns = slice(1 + number * per, 1 + (number + 1) * per)
        yield from grid([[row[0], *row[columns]] for row in rows])
        if number + 1 < len(comparison.candidates):
            yield ""


def grid(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows with their columns one under the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
