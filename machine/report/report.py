"""`munro report`: everything about a run on one page, and its first figure as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from munro.machine.report import picture
from munro.machine.report.figures import PHASES, specify
from munro.machine.report.page import Page, render
from munro.machine.report.restarts import segments, sentences
from munro.machine.report.rollouts import sample
from munro.machine.run.console import duration
from munro.machine.run.files import explained, write_atomically
from munro.machine.run.folder import RunFolder, RunInfo
from munro.machine.run.metrics import EVENT
from munro.machine.run.restarts import read_restarts

MOST_STEPS = 1500
"""Points of a curve; a longer run is thinned to means over neighbouring steps."""
TARGETS = {
    "entropy": ("clip", "entropy_target"),
    "k": ("clip", "widening_max"),
    "outer": ("clip", "outer"),
    "grad_norm": ("learner", "max_grad_norm"),
    "proof": ("sync", "proof_bound"),
}
"""Reference lines of the figures, and the config keys they come from."""
ZERO_IF_SILENT = ("time/", "groups/abandoned/")
"""Metrics that a step leaves out where nothing of the kind happened."""
EDGE = 0.05
"""Share of a run whose mean stands for its beginning and its end in the headline."""

Line = Mapping[str, Any]


def write_report(run: RunFolder | Path | str) -> Path:
    """Write `report.html` into the run's folder; the run may be going on meanwhile.

    Raises:
        RunError: there is no run there, its files are damaged, or the disk is full.
    """
    run = run if isinstance(run, RunFolder) else RunFolder.existing(run)
    info = run.read_info() or RunInfo()
    config = run.read_config() or {}
    lines = run.metrics.read()
    write_atomically(run.report, render(_page(run, info, config, lines)))
    return run.report


def save_picture(run: RunFolder | Path | str, path: Path | str) -> Path:
    """Draw the climb (pass rate, response length, entropy) into a PNG or SVG file.

    Raises:
        RunError: there is no run there, or `path` cannot be written.
    """
    run = run if isinstance(run, RunFolder) else RunFolder.existing(run)
    path = Path(path)
    _steps, columns = _columns(run.metrics.read())
    target = _targets(run.read_config() or {}).get("entropy")
    with explained(path):
        stars = [made.step for made in read_restarts(run)]
        picture.draw(_steps, columns, path, entropy_target=target, stars=stars)
    return path


def _page(run: RunFolder, info: RunInfo, config: Line, lines: Sequence[Line]) -> Page:
    steps, columns = _columns(lines)
    rollouts = sample(run.rollouts)
    text = run.config_file.read_text(encoding="utf-8") if config else ""
    restarts = read_restarts(run)
    return Page(
        name=run.name,
        status=info.status,
        when=_when(info),
        cause=info.cause,
        headline=_headline(lines),
        tiles=_tiles(lines),
        notes=sentences(restarts, lines) if lines else ["No step has been finished yet."],
        facts=_facts(info),
        config=text,
        data={
            "steps": steps,
            "columns": columns,
            "events": _events(info, lines),
            "segments": segments(restarts, str(info.provenance.get("model", ""))),
            "figures": specify(columns, targets=_targets(config)),
            "rollouts": rollouts,
        },
    )


def _columns(lines: Sequence[Line]) -> tuple[list[int], dict[str, list[float | None]]]:
    """Metric name to one value a step, six digits each; thinned where the run is long."""
    names = sorted({name for line in lines for name in line} - {"step", EVENT})
    per = max(1, -(-len(lines) // MOST_STEPS))
    bins = [lines[start : start + per] for start in range(0, len(lines), per)]
    columns = {name: [_mean(part, name) for part in bins] for name in names}
    columns = {
        name: values
        for name, values in columns.items()
        if any(value is not None for value in values)
    }
    if "time/step" in columns:
        columns["time/other"] = _unaccounted(columns)
    return [part[-1]["step"] for part in bins], columns


def _unaccounted(columns: Mapping[str, Sequence[float | None]]) -> list[float | None]:
    """Seconds of each step that no phase claims."""
    rest: list[float | None] = []
    for at, whole in enumerate(columns["time/step"]):
        claimed = sum(columns[f"time/{p}"][at] or 0 for p in PHASES if f"time/{p}" in columns)
        rest.append(None if whole is None else max(0.0, whole - claimed))
    return rest


def _mean(part: Sequence[Line], name: str) -> float | None:
    values = [line[name] for line in part if line.get(name) is not None]
    if name.startswith(ZERO_IF_SILENT):
        values += [0.0] * (len(part) - len(values))
    return float(f"{fmean(values):.6g}") if values else None


def _targets(config: Line) -> dict[str, float]:
    found = {}
    for name, (table, key) in TARGETS.items():
        value = config.get(table, {}).get(key)
        if isinstance(value, int | float):
            found[name] = float(value)
    return found


def _events(info: RunInfo, lines: Sequence[Line]) -> list[dict[str, Any]]:
    events = [
        {"step": step, "text": f"resumed after step {step}", "mark": "↻"}
        for step in info.resumes
        if step > 0
    ]
    for line in lines:
        for text in line.get(EVENT) or ():
            is_distilled = text.startswith("distill")
            mark = {"mark": "★" if is_distilled else "▾", "onCurve": is_distilled}
            events.append({"step": line["step"], "text": text} | mark)
    return events


def _ends(lines: Sequence[Line], name: str, share: float = EDGE) -> tuple[float, float] | None:
    """Means of a metric over the first and the last `share` of where it was measured."""
    values = [line[name] for line in lines if line.get(name) is not None]
    if not values:
        return None
    edge = max(1, round(len(values) * share))
    return fmean(values[:edge]), fmean(values[-edge:])


def _headline(lines: Sequence[Line]) -> str:
    held_out = _ends(lines, "eval/pass_rate", share=0)
    if held_out is None or len(lines) < 2:
        return ""
    start, end = held_out
    return (
        f"Held-out pass rate went from {start:.2f} to {end:.2f} in {lines[-1]['step']:,} steps "
        f"and {duration(_seconds(lines))}."
    )


def _seconds(lines: Sequence[Line]) -> float:
    return sum(line.get("time/step") or 0.0 for line in lines)


def _tiles(lines: Sequence[Line]) -> list[tuple[str, str, str]]:
    if not lines:
        return []
    tiles = []
    for label, name, form, share in (
        ("Held-out pass rate", "eval/pass_rate", ".2f", 0.0),
        ("Training pass rate", "pass_rate/sampled", ".2f", EDGE),
        ("Response length", "response/length", ",.0f", EDGE),
        ("Entropy, nats", "policy/entropy", ".2f", EDGE),
    ):
        ends = _ends(lines, name, share)
        if ends:
            tiles.append((label, f"{ends[0]:{form}} → {ends[1]:{form}}", ""))
    seconds = _seconds(lines)
    tiles.append(("Steps", f"{lines[-1]['step']:,}", ""))
    if seconds:
        tiles.append(("Time", duration(seconds), f"{seconds / len(lines):.2g} s a step"))
    speed = _ends(lines, "speed/rollout_tokens_per_s", share=1)
    if speed:
        tiles.append(("Rollout", f"{speed[0]:,.0f}", "tokens/s"))
    return tiles


def _when(info: RunInfo) -> str:
    try:
        started, updated = (datetime.fromisoformat(text) for text in (info.started, info.updated))
    except ValueError:
        return ""
    return f"{started:%d %B %Y, %H:%M} to {updated:%d %B %Y, %H:%M} UTC"


def _facts(info: RunInfo) -> dict[str, str]:
    resumed = ", ".join(f"{step:,}" if step > 0 else "the start" for step in info.resumes)
    facts = {str(name): str(value) for name, value in info.provenance.items()}
    facts["seed"] = str(info.seed)
    if resumed:
        facts["resumed after"] = resumed
    return facts | {name: str(version) for name, version in info.versions.items()}
