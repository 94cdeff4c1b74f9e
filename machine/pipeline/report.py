"""A machine's page: the tree of its phases, every specialist before and after, task by model.

One HTML file without scripts. What a name or a config says is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from munro.machine.pipeline.plan import Phase, Standing
from munro.machine.pipeline.scores_table import Table, table
from munro.machine.report.page import ASSETS
from munro.machine.run.console import duration
from munro.machine.run.files import write_atomically

PAGE = "report.html"
RESULTS = "results.json"


def write_machine_report(path: Path, phases: Sequence[Phase]) -> Path:
    """Write `report.html` into the machine's folder; it may be under way meanwhile.

    Raises:
        RunError: a manifest cannot be read, or the disk is full.
    """
    page = path / PAGE
    write_atomically(page, _page(path.name, phases))
    return page


def _page(name: str, phases: Sequence[Phase]) -> str:
    done = sum(phase.standing is Standing.DONE for phase in phases)
    status = "finished" if done == len(phases) else "running"
    seconds = sum((phase.manifest or {}).get("seconds", 0) for phase in phases)
    tables = "".join(_scores(phase, phases) for phase in phases if phase.kind == "evaluate")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(name)}: a Munro machine</title>
<style>{(ASSETS / "report.css").read_text(encoding="utf-8")}
{(ASSETS / "machine.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<header><div class="line"><h1>{escape(name)}</h1>
<span class="status {status}">{done} of {len(phases)} phases done</span>
<span class="when">{escape(duration(seconds))} of work</span></div></header>
<h2>Phases</h2>
<p class="note">Each stands below the one that it waits for longest; the star is a distillation.</p>
{_tree(phases)}
{_specialists(phases)}
{tables}
<footer>Written by munro machine.</footer>
</body>
</html>
"""


def _tree(phases: Sequence[Phase]) -> str:
    place = {phase.name: number for number, phase in enumerate(phases)}
    below: dict[str, list[Phase]] = {}
    for phase in phases:
        parent = max(phase.needs, key=lambda name: place[name], default="")
        below.setdefault(parent, []).append(phase)

    def leaves(parent: str) -> str:
        items = "".join(
            f"<li>{_leaf(phase)}{leaves(phase.name)}</li>" for phase in below.get(parent, ())
        )
        return f'<ul class="tree">{items}</ul>' if items else ""

    return leaves("")


def _leaf(phase: Phase) -> str:
    manifest = phase.manifest or {}
    taken = [name for names in phase.takes.values() for name in names]
    said = [phase.kind]
    if taken:
        said.append(f"from {', '.join(taken)}")
    if "seconds" in manifest:
        said.append(duration(manifest["seconds"]))
    mark = "★ " if phase.kind == "consolidate" else ""
    name = escape(phase.name)
    if phase.kind == "climb" and (phase.folder / PAGE).exists():
        name = f'<a href="{name}/{PAGE}">{name}</a>'
    standing = phase.standing
    return (
        f'<span class="phase">{mark}<b>{name}</b> '
        f'<span class="standing {standing}">{standing}</span> '
        f'<span class="dim">{escape(", ".join(said))}</span></span>'
    )


def _specialists(phases: Sequence[Phase]) -> str:
    rows = []
    for phase in phases:
        manifest = phase.manifest or {}
        if phase.kind == "climb" and "after" in manifest:
            rows.append(
                f'<tr><th scope="row">{escape(phase.name)}</th>'
                f"<td>{manifest['before']:.2f}</td><td>{manifest['after']:.2f}</td>"
                f"<td>{manifest['steps']:,}</td></tr>"
            )
    if not rows:
        return ""
    return (
        "<h2>Climbs, before and after</h2>"
        '<p class="note">Held-out pass rate on the climb\'s own tasks, at its first and its last '
        "evaluation.</p>"
        '<table class="scores"><tr><th></th><th>before</th><th>after</th><th>steps</th></tr>'
        f"{''.join(rows)}</table>"
    )


def _scores(phase: Phase, phases: Sequence[Phase]) -> str:
    file = phase.folder / RESULTS
    if not file.exists():
        return ""
    results: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    found = table(results, phases)
    head = "".join(f"<th>{escape(model)}</th>" for model in found.models)
    rows = "".join(_row(found, task) for task in found.tasks)
    return (
        f"<h2>{escape(phase.name)}: task by model</h2>"
        '<p class="note">Pass rate on held-out tasks, with its 95% interval. Kept: what the last '
        "model is above or below the specialist on the specialist's own task, in points, with the "
        "95% interval of the difference task by task.</p>"
        f'<table class="scores"><tr><th></th>{head}<th>kept</th></tr>{rows}</table>'
        f'<p class="note">{escape(found.verdict)}</p>'
    )


def _row(found: Table, task: str) -> str:
    cells = []
    for model in found.models:
        figure = found.results[model][task]
        own = ' class="own"' if model == task else ""
        cells.append(
            f"<td{own}>{figure['mean']:.3f}<small>{figure['low']:.3f} to {figure['high']:.3f}"
            "</small></td>"
        )
    points = found.kept(task)
    kept = "" if points is None else str(points)
    return f'<tr><th scope="row">{escape(task)}</th>{"".join(cells)}<td>{kept}</td></tr>'
