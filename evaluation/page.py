"""Results as one HTML page without scripts: figures with intervals, and attempts to read.

What models and tasks wrote is hostile: it is escaped, cut, and stands in its own direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from munro.evaluation.files import write_atomically, written
from munro.evaluation.results import Results
from munro.evaluation.statistics import Estimate
from munro.evaluation.types import AttemptRow

PAGE = "page.html"
SHOWN = 12
"""Attempts of an entry: half of them failed ones."""
MOST_TEXT = 4_000
"""Characters of a prompt or a reply."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1d2430; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse } td, th { padding: .25rem .9rem .25rem 0; text-align: left }
td.n { font-variant-numeric: tabular-nums; text-align: right }
.bar { position: relative; width: 14rem; height: .9rem; background: #eef1f5 }
.bar i { position: absolute; top: .2rem; height: .5rem; background: #9db7dd }
.bar b { position: absolute; top: 0; width: 2px; height: .9rem; background: #3565a8 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f7f9; padding: .6rem;
  margin: .3rem 0; unicode-bidi: isolate }
.dim { color: #667080 } .no { color: #b23b2e } .yes { color: #2f7d4f }
"""


def write_page(results: Results) -> Path:
    """Write `page.html` into the results' folder.

    Raises:
        BadResults: the disk refuses.
    """
    path = results.folder / PAGE
    with written(path):
        write_atomically(path, _page(results))
    return path


def _page(results: Results) -> str:
    name = escape(str(results.model().get("name", "")))
    holes = "; ".join(results.holes().values())
    entries = "".join(_entry(results, entry) for entry in results.entries())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(results.folder.name)}</title><style>{STYLE}</style></head>
<body><h1>{escape(results.folder.name)}</h1>
<p class="dim">{name}</p>
{f'<p class="no">Not whole: {escape(holes)}.</p>' if holes else ""}
{entries}
<p class="dim">Intervals hold the truth of such tasks in 95 of 100 evaluations.</p>
</body></html>
"""


def _entry(results: Results, entry: str) -> str:
    rows = results.rows(entry)
    found = results.figures().get(entry, {})
    lines = "".join(_figure(name, one) for name, one in found.items())
    runs = 1 + max(row.run for row in rows)
    return (
        f"<h2>{escape(entry)}</h2><p class='dim'>{len({row.task for row in rows})} tasks, "
        f"{runs} attempts each</p><table>{lines}</table>{_attempts(rows)}"
    )


def _figure(name: str, found: Estimate) -> str:
    bar = ""
    if found.low >= 0 and found.high <= 1:
        width = max(found.high - found.low, 0.004)
        bar = (
            f'<div class="bar"><i style="left:{found.low:.1%};width:{width:.1%}"></i>'
            f'<b style="left:{found.mean:.1%}"></b></div>'
        )
    ends = (_number(found.low), _number(found.high))
    return (
        f'<tr><td>{escape(name)}</td><td class="n">{_number(found.mean)}</td>'
        f'<td class="n">{ends[0]} to {ends[1]}</td><td>{bar}</td></tr>'
    )


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "unknown"


def _attempts(rows: Sequence[AttemptRow]) -> str:
    wrong = [row for row in rows if not row.passed and (row.prompt or row.reply)]
    right = [row for row in rows if row.passed and (row.prompt or row.reply)]
    shown = [*_spread(wrong, SHOWN // 2), *_spread(right, SHOWN // 2)]
    return "".join(
        f"<details><summary>{_verdict(row)} {escape(row.task)} "
        f'<span class="dim">run {row.run}, {row.num_tokens} tokens'
        f"{escape(f', {row.ending}' if row.ending else '')}</span></summary>"
        f'<pre dir="auto">{_cut(row.prompt)}</pre><pre dir="auto">{_cut(row.reply)}</pre>'
        f"{f'<p>{escape(row.failed)}</p>' if row.failed else ''}</details>"
        for row in shown
    )


def _verdict(row: AttemptRow) -> str:
    if row.failed:
        return '<span class="dim">not scored</span>'
    return '<span class="yes">passed</span>' if row.passed else '<span class="no">failed</span>'


def _spread(rows: Sequence[AttemptRow], number: int) -> list[AttemptRow]:
    """So many of them, evenly over all."""
    step = max(1, math.ceil(len(rows) / number))
    return list(rows[::step])[:number]


def _cut(text: str) -> str:
    rest = len(text) - MOST_TEXT
    return escape(text if rest <= 0 else f"{text[:MOST_TEXT]} [{rest:,} more characters]")
