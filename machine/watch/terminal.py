"""The same runs as a table in a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from rich import box
from rich.console import Console as Terminal
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from munro.machine.run.console import duration, printable
from munro.machine.watch.watched import Watched

EVERY_S = 1.0
WIDE = 200
"""Of what goes into a file or a pipe."""
NARROW, FEW = 120, 3
"""Columns below which so many figures are shown."""
FIGURES = (
    ("pass rate", "pass_rate/sampled", ".3f"),
    ("held-out", "eval/pass_rate", ".3f"),
    ("reward", "reward/total", ".3f"),
    ("entropy", "policy/entropy", ".3f"),
    ("length", "response/length", ".1f"),
    ("tok/s", "speed/rollout_tokens_per_s", ",.0f"),
    ("s/step", "time/step", ".2f"),
)


def watch_in_terminal(runs: Sequence[Watched]) -> None:
    """Redraw the table until Ctrl-C; write it once where the output is no terminal."""
    terminal = Terminal(highlight=False)
    if not terminal.is_terminal or terminal.is_dumb_terminal:
        Terminal(highlight=False, width=WIDE).print(_looked(runs, WIDE))
        return
    with (
        suppress(KeyboardInterrupt),
        Live(_looked(runs, terminal.width), console=terminal, auto_refresh=False) as live,
    ):
        while True:
            time.sleep(EVERY_S)
            live.update(_looked(runs, terminal.width), refresh=True)


def _looked(runs: Sequence[Watched], width: int) -> Group:
    for run in runs:
        run.look()
    return Group(_table(runs, FIGURES if width >= NARROW else FIGURES[:FEW]), *_notes(runs))


def _table(runs: Sequence[Watched], figures: Sequence[tuple[str, str, str]]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("run", "status", "step", *(label for label, _, _ in figures), "given up", "left"):
        is_text = name in ("run", "status", "given up")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=name != "given up")
    for run in runs:
        told = run.told()
        whole = told["num_steps"]
        step = told["step"] if told["step"] is not None else "-"
        cells = [f"{step}/{whole}" if whole else f"{step}"]
        for _, key, form in figures:
            value = run.curves.last(key)
            cells.append("-" if value is None else format(value, form))
        counts = ", ".join(f"{r.replace('_', ' ')} {n}" for r, n in told["given"]["counts"].items())
        row = [told["name"], told["status"], *cells, counts, _left(run, whole)]
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    return table


def _left(run: Watched, num_steps: object) -> str:
    pace = run.curves.last("time/step")
    if not isinstance(num_steps, int) or pace is None or not len(run.curves):
        return ""
    left = num_steps - run.curves.steps[-1]
    return duration(pace * left) if left > 0 else ""


def _notes(runs: Sequence[Watched]) -> Iterator[Text]:
    for run in runs:
        for trouble in [*run.told()["troubles"], run.info.cause]:
            if trouble:
                yield Text(printable(f"{run.name}: {trouble}"))
