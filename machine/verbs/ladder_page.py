"""A ladder, or anybody's results, as one HTML file: verdicts, tables, figures; no script."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib import resources

import numpy as np

from munro.base_model.results import ONLY_LOSS, TrainedRun
from munro.base_model.scaling.comparison import Column, Comparison
from munro.machine.report.plot import TONES, Line, Mark, plot
from munro.machine.verbs.verdicts import (
    COSTS,
    NAMES,
    category_rows,
    flip_sentences,
    law,
    rung_rows,
    standing,
    trend,
    value,
)

STYLES = ("report.css", "ladder.css")
POINTS = 60


def ladder_page(
    comparison: Comparison, runs: Sequence[TrainedRun], *, title: str, config: str = ""
) -> str:
    """The page, whole.

    Args:
        comparison: of the runs.
        runs: for the table at the end.
        title: of the page.
        config: the resolved configuration, as text; empty for results of somebody else's.
    """
    pages = resources.files("munro.machine") / "page"
    style = "".join((pages / name).read_text(encoding="utf-8") for name in STYLES)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    details = (
        f"<details><summary>Resolved config</summary><pre>{html.escape(config)}</pre></details>"
        if config
        else ""
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{html.escape(title)}: a Munro ladder</title>
<style>{style}</style>
</head>
<body>
<header>
<div class="line"><h1>{html.escape(title)}</h1></div>
<p>Efficiency gain over {html.escape(comparison.baseline)}: what it would have paid for the same
loss, over what the candidate paid. MAI-Thinking-1 report, section 2.2.2.</p>
<dl class="tiles">{"".join(_tiles(comparison))}</dl>
{"".join(_warnings(comparison))}
</header>
<div class="figures">{"".join(_figures(comparison))}</div>
{"".join(_tables(comparison))}
<h2>Runs</h2>
{_table(_run_rows(runs))}
{details}
<footer>Written by munro.</footer>
</body>
</html>
"""


def _tiles(comparison: Comparison) -> list[str]:
    tiles = []
    for kind in comparison.costs:
        column = comparison.column(kind, comparison.headline)
        for name, gain in column.gains.items():
            label = f"{name}: {NAMES[kind]}, {column.rungs[name][-1]}"
            remark = f"{standing(gain)}; {trend(gain)}"
            tiles.append(
                f"<div><dt>{html.escape(label)}</dt><dd>{html.escape(value(gain, -1))} "
                f'<small class="verdict">{html.escape(remark)}</small></dd></div>'
            )
    return tiles


def _warnings(comparison: Comparison) -> list[str]:
    flips = (f"Rank flip: {sentence}" for sentence in flip_sentences(comparison.flips))
    return [
        *(f'<p class="cause">{html.escape(sentence)}</p>' for sentence in flips),
        *(f'<p class="note">{html.escape(note)}</p>' for note in comparison.notes),
    ]


def _figures(comparison: Comparison) -> list[str]:
    tones = dict(zip(comparison.candidates, TONES[1:] * len(comparison.candidates), strict=False))
    headline = [comparison.column(kind, comparison.headline) for kind in comparison.costs]
    others = [
        column
        for column in comparison.columns
        if column.name != comparison.headline and column.cost == "flops"
    ]
    return [
        *(_law_figure(column, comparison.baseline, tones) for column in headline),
        *(_gain_figure(column, tones) for column in headline),
        *(_law_figure(column, comparison.baseline, tones) for column in others),
        *(_gain_figure(column, tones) for column in others),
    ]


def _law_figure(column: Column, baseline: str, tones: dict[str, str]) -> str:
    """Losses of everything, and the baseline's law."""
    costs = [column.fit.costs, *(gain.costs for gain in column.gains.values())]
    every = np.concatenate(costs)
    across = np.geomspace(every.min(), every.max(), POINTS)
    curve = list(zip(across.tolist(), column.fit.law.loss(across).tolist(), strict=True))
    marks = [
        Mark(x=float(x), y=float(y), tone=TONES[0], note=f"{baseline}: {y:.4f}")
        for x, y in zip(column.fit.costs, column.fit.losses, strict=True)
    ]
    lines = [Line(points=curve, tone=TONES[0], name=baseline)]
    for name, gain in column.gains.items():
        points = list(zip(gain.costs.tolist(), column.losses[name].tolist(), strict=True))
        lines.append(Line(points=points, tone=tones[name], name=name, dashed=True))
        marks += [
            Mark(x=x, y=y, tone=tones[name], note=f"{name} at {rung}: {y:.4f}")
            for (x, y), rung in zip(points, column.rungs[name], strict=True)
        ]
    what = column.name if column.name == ONLY_LOSS else f"{column.name} loss"
    title = f"{what[:1].upper()}{what[1:]}, and the baseline's law"
    return plot(marks, lines, title=title, across=COSTS[column.cost], log_y=True)


def _gain_figure(column: Column, tones: dict[str, str]) -> str:
    marks, lines, costs = [], [], []
    for name, gain in column.gains.items():
        points = [(float(x), float(y)) for x, y in zip(gain.costs, gain.values, strict=True)]
        costs += [x for x, _ in points]
        lines.append(Line(points=points, tone=tones[name], name=name))
        marks += [
            Mark(
                x=x,
                y=y,
                tone=tones[name],
                low=gain.intervals[run].low,
                high=gain.intervals[run].high,
                note=f"{name} at {column.rungs[name][run]}: {value(gain, run)}",
            )
            for run, (x, y) in enumerate(points)
        ]
    even = Line(points=[(min(costs), 1.0), (max(costs), 1.0)], tone="f", name="", dashed=True)
    title = f"{NAMES[column.cost]}, {column.name}"
    return plot(marks, [even, *lines], title=title, across=COSTS[column.cost], log_y=True)


def _tables(comparison: Comparison) -> list[str]:
    parts = []
    for kind in comparison.costs:
        column = comparison.column(kind, comparison.headline)
        parts.append(
            f"<h2>{NAMES[kind]} by rung</h2><p class='note'>{html.escape(law(column))}</p>"
            + _table(rung_rows(column))
        )
    if len(comparison.columns) > len(comparison.costs):
        parts.append("<h2>By category</h2>" + _table(category_rows(comparison)))
    return parts


def _run_rows(runs: Sequence[TrainedRun]) -> list[list[str]]:
    sets = list(runs[0].losses)
    rows = [["", "rung", "FLOPs", "seconds", *sets]]
    for run in runs:
        seconds = "" if run.seconds is None else f"{run.seconds:,.0f}"
        losses = [f"{run.losses[name]:.4f}" for name in sets]
        rows.append([run.name, run.rung, f"{run.flops:.3g}", seconds, *losses])
    return rows


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    heading = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in body
    )
    return (
        f'<div class="scroll"><table class="grid"><thead><tr>{heading}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )
