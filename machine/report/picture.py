"""The climb as a still picture, for a README: pass rate, response length and entropy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Values = Sequence[float | None]

STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "munro",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": "#9aa1a9",
    "axes.labelcolor": "#5d646d",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e4df",
    "xtick.color": "#5d646d",
    "ytick.color": "#5d646d",
    "ytick.left": False,
    "xtick.bottom": False,
    "text.color": "#1c1f23",
    "figure.facecolor": "#ffffff",
}
APART = 0.085
"""Of the pass rate axis: the height of a name."""
BLUE, ORANGE, GREEN, VIOLET, GREY = "#1f5fbf", "#c8590d", "#2b8050", "#7b4bb3", "#7d858e"


def draw(
    steps: Sequence[int],
    columns: Mapping[str, Values],
    path: Path,
    *,
    entropy_target: float | None = None,
    stars: Sequence[int] = (),
) -> None:
    """Draw the first figure of a report into `path`; its suffix chooses PNG or SVG.

    Args:
        steps: of the columns.
        columns: metric name to one value a step.
        path: of the picture.
        entropy_target: drawn as a line.
        stars: steps at which the climb was distilled, marked on the pass rate.

    Raises:
        OSError: `path` cannot be written.
        ValueError: matplotlib knows no format of that suffix.
    """
    # imported here, for it takes a second; the figure is made without pyplot's global state
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 5.6), layout="constrained")
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(1.6, 1, 1))
        training = _curve(top, steps, columns.get("pass_rate/sampled"), BLUE)
        held_out = _dots(top, steps, columns.get("eval/pass_rate"), ORANGE)
        _stars(top, steps, columns.get("pass_rate/sampled"), stars)
        _label(top, steps, {"training": (training, BLUE), "held-out": (held_out, ORANGE)})
        top.set(title="Pass rate", ylim=(0, 1.02))
        _curve(middle, steps, columns.get("response/length"), GREEN)
        middle.set(title="Response length, tokens")
        middle.set_ylim(bottom=0)
        _curve(bottom, steps, columns.get("policy/entropy"), VIOLET)
        if entropy_target is not None:
            bottom.axhline(entropy_target, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
            _label(bottom, steps, {f"target {entropy_target:g}": (entropy_target, GREY)})
        bottom.set(title="Entropy, nats per token", xlabel="optimizer step")
        bottom.set_ylim(bottom=0)
        top.margins(x=0)
        still = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, dpi=160, metadata=still)


def smooth(values: Values) -> list[float]:
    """A mean over the neighbours of each value, weighted by a bell; NaN where none was measured."""
    width = sum(value is not None for value in values) / 70
    reach = math.ceil(width * 2.5)
    smoothed = []
    for at, own in enumerate(values):
        mass = total = 0.0
        for near in range(max(0, at - reach), min(len(values), at + reach + 1)):
            value = values[near]
            if own is not None and value is not None:
                weight = math.exp(-0.5 * ((near - at) / width) ** 2)
                mass += weight
                total += weight * value
        smoothed.append(total / mass if mass else math.nan)
    return smoothed


def _curve(axes: Any, steps: Sequence[int], values: Values | None, colour: str) -> float:
    """Draw each step thinly and their mean thickly; returns where the mean ends."""
    if not values:
        return math.nan
    smoothed = smooth(values)
    raw = [math.nan if value is None else value for value in values]
    axes.plot(steps, raw, color=colour, linewidth=0.7, alpha=0.3)
    axes.plot(steps, smoothed, color=colour, linewidth=1.8)
    return smoothed[-1]


def _dots(axes: Any, steps: Sequence[int], values: Values | None, colour: str) -> float:
    """Draw what is measured only now and then; returns the last of it."""
    measured = [
        (step, value) for step, value in zip(steps, values or (), strict=False) if value is not None
    ]
    if not measured:
        return math.nan
    at, rates = zip(*measured, strict=True)
    axes.plot(at, rates, color=colour, linewidth=1.2, marker="o", markersize=4.5, clip_on=False)
    return float(rates[-1])


def _stars(axes: Any, steps: Sequence[int], values: Values | None, stars: Sequence[int]) -> None:
    """Mark these steps on a smoothed curve."""
    height = dict(zip(steps, smooth(values or ()), strict=False))
    known = [step for step in stars if math.isfinite(height.get(step, math.nan))]
    if known:
        heights = [height[step] for step in known]
        axes.plot(known, heights, "*", color="#1c1f23", markersize=11, clip_on=False)


def _label(axes: Any, steps: Sequence[int], ends: Mapping[str, tuple[float, str]]) -> None:
    """Name curves at their right end, the names one under the other where the ends are close."""
    # imported here, with the rest of matplotlib
    from matplotlib.transforms import ScaledTranslation

    told = sorted(
        ((y, colour, name) for name, (y, colour) in ends.items() if math.isfinite(y)), reverse=True
    )
    shifted = axes.transData + ScaledTranslation(8 / 72, 0, axes.figure.dpi_scale_trans)
    above = math.inf
    for y, colour, name in told:
        above = min(y, above - APART)
        axes.annotate(
            name,
            (steps[-1], y),
            xytext=(steps[-1], above),
            textcoords=shifted,
            color=colour,
            fontweight="bold",
            verticalalignment="center",
            annotation_clip=False,
        )
