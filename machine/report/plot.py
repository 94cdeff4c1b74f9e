"""Figures over a logarithmic cost, drawn as SVG by themselves: no script, the page's own colours.

    plot([Mark(...), Line(...)], title="loss", across="training FLOPs")

Everything is data coordinates until it is written; text is escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

TONES = "abcdefg"
"""Classes of the report's style sheet, a colour each."""
WIDTH, HEIGHT = 480.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 118.0, 22.0, 34.0
TICKS = 5
WITHIN_A_DECADE = 8.0
"""Ratio of its ends up to which a logarithmic axis has evenly stepped ticks."""
NAME_HEIGHT = 14.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A measured point, perhaps with an interval."""

    x: float
    y: float
    tone: str
    low: float = math.nan
    high: float = math.nan
    note: str = ""
    """Shown where a mouse rests on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A curve, with its name at its right end."""

    points: Sequence[tuple[float, float]]
    tone: str
    name: str = ""
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From data to places on the paper."""

    low: float
    high: float
    begin: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        low, high, value = (
            math.log10(each) if self.log else each for each in (self.low, self.high, value)
        )
        share = (value - low) / (high - low) if high > low else 0.5
        return self.begin + share * (self.end - self.begin)

    @property
    def ticks(self) -> list[float]:
        """Round values within."""
        wide = self.log and self.high > WITHIN_A_DECADE * self.low
        return decades(self.low, self.high) if wide else round_steps(self.low, self.high)


def plot(
    marks: Sequence[Mark], lines: Sequence[Line], *, title: str, across: str, log_y: bool = False
) -> str:
    """One figure.

    Args:
        marks: points; what is not finite is left out.
        lines: curves, drawn below the points.
        title: above it.
        across: what the horizontal axis shows, logarithmically.
        log_y: the vertical axis is logarithmic too.
    """
    seen = [mark for mark in marks if math.isfinite(mark.y) and (mark.y > 0 or not log_y)]
    curves = [[(x, y) for x, y in line.points if math.isfinite(y)] for line in lines]
    xs = [mark.x for mark in seen] + [x for curve in curves for x, _ in curve]
    ys = [mark.y for mark in seen] + [y for curve in curves for _, y in curve]
    if not xs:
        return ""
    room = _room(ys, log_y)
    bounds = [each for mark in seen for each in (mark.low, mark.high) if math.isfinite(each)]
    # intervals widen the axis, but one that is wide open must not squeeze all the rest flat
    ys += [min(max(each, room[0]), room[1]) for each in bounds]
    across_x = Scale(
        low=min(xs) / 1.15, high=max(xs) * 1.15, begin=LEFT, end=WIDTH - RIGHT, log=True
    )
    low, high = _padded(min(ys), max(ys), log_y)
    up_y = Scale(low=low, high=high, begin=HEIGHT - BOTTOM, end=TOP, log=log_y)
    body = [
        *_axes(across_x, up_y, across),
        *(_curve(line, curve, across_x, up_y) for line, curve in zip(lines, curves, strict=True)),
        *_names(lines, curves, up_y),
        *(_mark(mark, across_x, up_y) for mark in seen),
    ]
    return (
        f'<section><h2>{html.escape(title)}</h2><div class="chart">'
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{html.escape(title)}">'
        f"{''.join(body)}</svg></div></section>"
    )


def decades(low: float, high: float) -> list[float]:
    """Powers of ten between two numbers; 2 and 5 times them too where those are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        found = [f * 10.0**power for power in range(first, last + 1) for f in factors]
        found = [tick for tick in found if low <= tick <= high]
        if len(found) >= 3:
            return found
    return found


def round_steps(low: float, high: float) -> list[float]:
    """About `TICKS` multiples of 1, 2 or 5 times a power of ten between two numbers."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def _room(ys: Sequence[float], log_y: bool) -> tuple[float, float]:
    """How far intervals may widen the axis: by as much as the points span, on either side."""
    low, high = min(ys), max(ys)
    if log_y:
        factor = max(high / low, 1.1)
        return low / factor, high * factor
    span = max(high - low, 0.1 * abs(high))
    return low - span, high + span


def _padded(low: float, high: float, log_y: bool) -> tuple[float, float]:
    if log_y:
        factor = max(high / low, 1.05) ** 0.06
        return low / factor, high * factor
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def _axes(across_x: Scale, up_y: Scale, across: str) -> list[str]:
    parts = []
    for tick in up_y.ticks:
        y = up_y(tick)
        parts.append(
            f'<line class="grid" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
        )
    floor = HEIGHT - BOTTOM
    for tick in across_x.ticks:
        x = across_x(tick)
        label = f"{tick:.0e}".replace("e+0", "e").replace("e+", "e") if tick >= 1e4 else f"{tick:g}"
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{floor:g}" y2="{floor + 4:g}"/>'
            f'<text x="{x:.1f}" y="{floor + 16:g}" text-anchor="middle">{label}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle:g}" y="{HEIGHT - 3:g}" text-anchor="middle">{html.escape(across)}</text>'
    )
    return parts


def _curve(line: Line, curve: Sequence[tuple[float, float]], across_x: Scale, up_y: Scale) -> str:
    places = " ".join(f"{across_x(x):.1f},{up_y(y):.1f}" for x, y in curve)
    dashes = ' stroke-dasharray="4 3"' if line.dashed else ""
    return f'<polyline class="curve {line.tone}"{dashes} points="{places}"/>' if curve else ""


def _mark(mark: Mark, across_x: Scale, up_y: Scale) -> str:
    x, y = across_x(mark.x), up_y(mark.y)
    bar = ""
    if not math.isnan(mark.low) and not math.isnan(mark.high):
        top = up_y(min(max(mark.high, up_y.low), up_y.high))
        foot = up_y(max(min(mark.low, up_y.high), up_y.low))
        bar = (
            f'<line class="curve {mark.tone}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" '
            f'y2="{foot:.1f}" opacity="0.5"/>'
        )
    note = f"<title>{html.escape(mark.note)}</title>" if mark.note else ""
    return f'{bar}<circle class="dot {mark.tone}" cx="{x:.1f}" cy="{y:.1f}" r="4">{note}</circle>'


def _names(
    lines: Sequence[Line],
    curves: Sequence[Sequence[tuple[float, float]]],
    up_y: Scale,
) -> list[str]:
    """Names of the curves at their right ends, none over another."""
    ends = sorted(
        (up_y(curve[-1][1]), line.tone, line.name)
        for line, curve in zip(lines, curves, strict=True)
        if curve and line.name
    )
    parts, free = [], -math.inf
    for y, tone, name in ends:
        free = max(y, free + NAME_HEIGHT)
        parts.append(
            f'<text class="label {tone}" x="{WIDTH - RIGHT + 8:g}" y="{free + 4:.1f}">'
            f"{html.escape(name)}</text>"
        )
    return parts
