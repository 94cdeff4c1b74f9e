"""What a person sees while a run goes on: a live table, or one plain line a step in a log file."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console as Terminal
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from munro.machine.run.by_environment import environments, is_of_one
from munro.rl.clip import IDLE, IDLE_STEPS, is_idle

BARS = "▁▂▃▄▅▆▇█"
ABANDONED = "groups/abandoned/"
SPARK_WIDTH = 32
PRETRAIN_LINES = 20
"""Plain lines that pre-training writes, whatever its length."""
MOST_ENVIRONMENTS = 8
"""Environments whose own pass rates are shown; the report and the trackers have all."""
PACE_STEPS = 20
"""Steps over which the time left is estimated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The head of the display.

    Example:
        Summary(run="quickstart", model="tiny-llama", env="arithmetic", engine="vllm")
    """

    run: str
    model: str
    env: str
    engine: str
    entropy_target: float | None = None
    """H*, shown beside the entropy."""


class Console:
    """Shows a run from `__enter__` to `__exit__`, which gives the terminal back however it ends.

    It writes to standard output only what it is told here. Text is shown as text: neither markup
    nor terminal escapes in it have any effect.

    Example:
        with Console(summary, num_steps=200) as console:
            console.phase("sampling", 96, 256)
            console.step(1, {"pass_rate/sampled": 0.25, "time/step": 2.0})
    """

    def __init__(
        self, summary: Summary, num_steps: int, *, terminal: Terminal | None = None
    ) -> None:
        self.summary = summary
        self.num_steps = num_steps
        self._terminal = terminal or Terminal(file=sys.stdout, highlight=False)
        self._live: Live | None = None
        self._phase = ""
        self._step = 0
        self._latest: dict[str, Any] = {}
        self._pass_rates: deque[float] = deque(maxlen=SPARK_WIDTH)
        self._held_out: deque[float] = deque(maxlen=SPARK_WIDTH)
        self._paces: deque[float] = deque(maxlen=PACE_STEPS)
        self._at_bounds: deque[float] = deque(maxlen=IDLE_STEPS)
        self._told_idle = False
        self._abandoned: dict[str, int] = {}
        self._began = time.monotonic()
        self._pretrain_lines = 0
        self._bar = Progress(
            BarColumn(bar_width=None, complete_style="blue", finished_style="green"),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            expand=True,
        )
        self._bar_id: TaskID = self._bar.add_task("", total=num_steps, left="")

    @property
    def is_live(self) -> bool:
        """Whether the output is a terminal that can be redrawn."""
        return self._terminal.is_terminal and not self._terminal.is_dumb_terminal

    def __enter__(self) -> Self:
        if self.is_live:
            self._live = Live(
                get_renderable=self._render, console=self._terminal, refresh_per_second=4
            )
            self._live.start()
        else:
            head = self.summary
            self._print(f"{head.run}: {head.model} on {head.env} ({head.engine})")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._phase = ""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def phase(self, text: str, done: int | None = None, total: int | None = None) -> None:
        """Say what the run is at: "sampling", 96, 256. Not written in plain mode."""
        count = "" if done is None else f" {done}" + ("" if total is None else f"/{total}")
        self._phase = f"{text}{count}"

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Show a finished step, or with the steps of a resumed run, where it stands."""
        self._step = step
        self._latest |= metrics
        for key, kept in (
            ("pass_rate/sampled", self._pass_rates),
            ("eval/pass_rate", self._held_out),
        ):
            if _is_number(metrics.get(key)):
                kept.append(float(metrics[key]))
        if _is_number(metrics.get("time/step")):
            self._paces.append(float(metrics["time/step"]))
        if _is_number(metrics.get("clip/high")):
            self._at_bounds.append(metrics["clip/low"] + metrics["clip/high"])
        envs = environments(metrics)
        for key, value in metrics.items():
            is_whole = not is_of_one(key, metrics.keys(), envs)
            if key.startswith(ABANDONED) and is_whole and _is_number(value):
                reason = key.removeprefix(ABANDONED)
                self._abandoned[reason] = self._abandoned.get(reason, 0) + int(value)
        self._bar.update(self._bar_id, completed=step, total=self.num_steps, left=self._left())
        if self._live is None:
            self._print(self._plain_line(metrics))
        if is_idle([*self._at_bounds]) and not self._told_idle:
            self._told_idle = True
            self.note(f"{IDLE}.")

    def pretrain(self, step: int, total: int, loss: float) -> None:
        """Show the making of the base model; in plain mode some twenty lines of it."""
        self.phase(f"training the base model, loss {loss:.3f}", step, total)
        if self._live is None and step * PRETRAIN_LINES >= total * (self._pretrain_lines + 1):
            self._pretrain_lines = step * PRETRAIN_LINES // total
            self._print(f"base model  step {step}/{total}  loss {loss:.3f}")

    def note(self, text: str) -> None:
        """Write a sentence that stays."""
        self._print(text)

    def _print(self, text: str) -> None:
        self._terminal.print(Text(printable(text)), soft_wrap=True)

    def _left(self) -> str:
        if not self._paces or self._step >= self.num_steps:
            return ""
        pace = sum(self._paces) / len(self._paces)
        return f"{duration(pace * (self.num_steps - self._step))} left"

    def _plain_line(self, metrics: Mapping[str, Any]) -> str:
        parts = [f"step {self._step}/{self.num_steps}"]
        for label, value in self._figures(metrics, with_charts=False):
            parts.append(f"{label} {value}")
        if left := self._left():
            parts.append(left)
        return "  ".join(parts)

    def _figures(self, metrics: Mapping[str, Any], *, with_charts: bool) -> list[tuple[str, str]]:
        """(label, value) of what `metrics` holds, in reading order."""
        target = self.summary.entropy_target
        aim = "" if target is None else f" (target {target:g})"
        rows: Sequence[tuple[str, str, str, str]] = (
            ("pass rate", "pass_rate/sampled", ".3f", _sparkline(self._pass_rates)),
            ("held-out", "eval/pass_rate", ".3f", _sparkline(self._held_out)),
            ("reward", "reward/total", ".3f", ""),
            ("entropy", "policy/entropy", ".3f", ""),
            ("k", "policy/k", ".2f", ""),
            ("length", "response/length", ".1f", ""),
            ("tok/s", "speed/rollout_tokens_per_s", ",.0f", ""),
            ("staleness", "staleness/mean", ".1f", ""),
            ("s/step", "time/step", ".2f", ""),
        )
        shown = []
        for label, key, form, chart in rows:
            if not _is_number(metrics.get(key)):
                continue
            value = format(metrics[key], form) + (aim if key == "policy/entropy" else "")
            if key == "policy/k" and is_idle([*self._at_bounds]):
                value = "idle"
            shown.append((label, f"{value}  {chart}" if with_charts and chart else value))
        return shown + _by_environment(metrics)

    def _render(self) -> RenderableType:
        head = self.summary
        table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(no_wrap=True)
        for label, value in self._figures(self._latest, with_charts=True):
            table.add_row(label, value)
        if self._abandoned:
            ordered = sorted(self._abandoned.items(), key=lambda item: -item[1])
            counts = ", ".join(f"{reason.replace('_', ' ')} {n}" for reason, n in ordered)
            table.add_row("given up", Text(printable(counts), overflow="ellipsis"))
        title = Text.assemble(
            (printable(head.run), "bold"),
            f"  {printable(head.model)} on {printable(head.env)}  ",
            (printable(head.engine), "dim"),
        )
        status = Text.assemble(
            (printable(self._phase), "blue"),
            "  ",
            (duration(time.monotonic() - self._began), "dim"),
        )
        return Group(title, self._bar, table, status)


def _by_environment(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(environment, its pass rate, held out in brackets) of those that have any."""
    shown = []
    for env in environments(metrics):
        rate = metrics.get(f"pass_rate/sampled/{env}")
        held_out = metrics.get(f"eval/{env}/pass_rate")
        told = [format(rate, ".3f")] if _is_number(rate) else []
        told += [f"(held-out {held_out:.3f})"] if _is_number(held_out) else []
        if told:
            shown.append((printable(env), " ".join(told)))
    return shown[:MOST_ENVIRONMENTS]


def printable(text: str) -> str:
    """`text` without the characters that steer a terminal; line breaks become spaces."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        duration(3725)  # "1h 02m"
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def _sparkline(rates: Sequence[float]) -> str:
    """Shares in [0, 1] as a line of bars; a single one says nothing, and is left out."""
    if len(rates) < 2:
        return ""
    return "".join(BARS[min(int(rate * len(BARS)), len(BARS) - 1)] for rate in rates)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
