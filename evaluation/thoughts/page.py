"""Thoughts as one HTML page without scripts: curves with their intervals, and examples to read.

What models and tasks wrote is hostile: it is escaped, cut, and stands in its own direction.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from munro.evaluation.statistics import Estimate
from munro.evaluation.thoughts.examples import Example
from munro.evaluation.thoughts.over_steps import curve
from munro.evaluation.thoughts.report import Thoughts, told_change

POINTS = 80
"""Of a curve; more steps are put together."""
WIDTH, HEIGHT = 640, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 24
STEERING = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
STYLE = """
:root { --ink: #1d2430; --soft: #667080; --rule: #dfe4ec; --well: #f6f7f9; --paper: #fff;
  --tone: #3565a8; --band: #3565a833; --found: #ffe38a }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b4; --rule: #39414e;
  --well: #1e242d; --paper: #14181f; --tone: #8fb4ea; --band: #8fb4ea33; --found: #6b5600 } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper) }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin: 2.4rem 0 .1rem }
h3 { font-size: .85rem; margin: .9rem 0 .2rem; color: var(--soft); font-weight: 600 }
p { margin: .2rem 0 } .dim { color: var(--soft) } .sure { font-weight: 600 }
svg { width: 100%; height: auto; font-size: 11px } text { fill: var(--soft) }
.grid { stroke: var(--rule) } .band { fill: var(--band) }
.line { fill: none; stroke: var(--tone); stroke-width: 1.8 } .dot { fill: var(--tone) }
.when { stroke: var(--soft); stroke-dasharray: 3 3 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--well); padding: .6rem;
  margin: .3rem 0; unicode-bidi: isolate; font-size: 12.5px }
mark { background: var(--found); color: inherit } summary { cursor: pointer }
"""


def render(name: str, found: Thoughts, scanned: Sequence[str] = ()) -> str:
    """The page, whole.

    Args:
        name: of the run.
        found: in it.
        scanned: what a judge said, in lines.
    """
    notes = "".join(f'<p class="dim">{escape(note)}</p>' for note in found.notes)
    judged = "".join(f"<p>{escape(line)}</p>" for line in scanned)
    seen = [one for one, groups in found.groups.items() if groups.sums.any()]
    figures = "".join(_figure(found, one) for one in seen)
    never = ", ".join(found.features[one].title for one in found.groups if one not in seen)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(name)}: thoughts over the steps</title><style>{STYLE}</style></head>
<body><h1>{escape(name)}: thoughts over the steps</h1>
<p class="dim">{found.num:,} attempts of {len(found.steps):,} steps. Bands hold the truth of such
tasks in 95 of 100 runs. What is said to have changed did so from the first to the last tenth of the
steps with p under 0.05, all {len(found.changes)} features together (Holm).</p>
{notes}{f"<h2>What a judge said</h2>{judged}" if judged else ""}
{figures}
{f'<h2>Never seen</h2><p class="dim">{escape(never)}</p>' if never else ""}
</body></html>
"""


def _figure(found: Thoughts, name: str) -> str:
    feature, change = found.features[name], found.changes.get(name)
    points = curve(found.groups[name], POINTS)
    told = ""
    if change is not None:
        kind = "sure" if change.p < 0.05 else "dim"
        told = f'<p class="{kind}">{escape(told_change(change))}</p>'
    when = change.step if change else None
    return (
        f'<h2>{escape(feature.title)}</h2><p class="dim">{escape(feature.told)}</p>'
        f"{_chart(points, feature.title, when, is_share=feature.is_share)}{told}"
        f"{_examples(found.examples[name])}"
    )


def _chart(
    points: Sequence[tuple[int, int, Estimate]], title: str, when: int | None, *, is_share: bool
) -> str:
    """Curve and band as SVG."""
    top = _top([one for _, _, one in points], is_share=is_share)
    first, last = points[0][0], points[-1][1]

    def x(step: float) -> float:
        return LEFT + (step - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        share = min(max(value / top, 0.0), 1.0)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    across = f'class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}"'
    grid = "".join(
        f'<line {across} y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark:.3g}</text>'
        for mark in (0.0, top / 2, top)
    )
    ends = "".join(
        f'<text x="{x(step):.1f}" y="{HEIGHT - 8}" text-anchor="{where}">{step:,}</text>'
        for step, where in ((first, "start"), (last, "end"))
    )
    middle = [((begin + end) / 2, one) for begin, end, one in points]
    band = [(x(at), y(one.low), y(one.high)) for at, one in middle if math.isfinite(one.low)]
    edge = [f"{at:.1f},{high:.1f}" for at, _, high in band]
    edge += [f"{at:.1f},{low:.1f}" for at, low, _ in reversed(band)]
    line = " ".join(f"{x(at):.1f},{y(one.mean):.1f}" for at, one in middle)
    dots = "".join(
        f'<circle class="dot" cx="{x(at):.1f}" cy="{y(one.mean):.1f}" r="2.2"/>'
        for at, one in (middle if len(middle) < 25 else ())
    )
    mark = ""
    if when is not None:
        mark = (
            f'<line class="when" x1="{x(when):.1f}" x2="{x(when):.1f}" y1="{TOP}" '
            f'y2="{HEIGHT - BOTTOM}"/>'
        )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} by step">'
        f'{grid}{ends}<polygon class="band" points="{" ".join(edge)}"/>{mark}'
        f'<polyline class="line" points="{line}"/>{dots}</svg>'
    )


def _top(curve: Sequence[Estimate], *, is_share: bool) -> float:
    """Upper end of the axis: a round number over all means and most of the bands."""
    means = [one.mean for one in curve]
    highs = sorted(one.high for one in curve if math.isfinite(one.high))
    most = max([*means, highs[int(0.9 * (len(highs) - 1))] if highs else 0.0])
    if most <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(most))
    round_up = next(many * unit for many in (1, 2, 2.5, 5, 10) if many * unit >= most * 0.999)
    return min(round_up, 1.0) if is_share else round_up


def _examples(examples: Sequence[Example]) -> str:
    if not examples:
        return '<p class="dim">No reply at the four steps shows it.</p>'
    told = "".join(
        f"<h3>step {one.step:,}, {_shown(one.task)}: {one.value:.4g}</h3>"
        f'<pre dir="auto">{_shown(one.before)}<mark>{_shown(one.found)}</mark>'
        f"{_shown(one.after)}</pre>"
        for one in examples
    )
    return f"<details><summary>the most telling replies at four steps</summary>{told}</details>"


def _shown(text: str) -> str:
    """Escaped; what would turn text around or hide it is shown by its number."""
    return escape(STEERING.sub(lambda one: f"[U+{ord(one[0]):04X}]", text))
