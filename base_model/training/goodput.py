"""Where a run's wall-clock went, to the nanosecond (MAI-Thinking-1 report, section 6.2).

    goodput = ideal training time / wall-clock

Every line of the ledger ends a span that began where the line before it ended, so the spans add
up to the wall-clock because there is nothing between them; a process that comes after a killed
one books what lies between as time in which nothing ran. What the time of a step was worth is
settled when the ledger is read: a step that was lost and taken again was recomputation, and what
a step took beyond the ideal step was slowness.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from statistics import median_low

from munro.base_model.training.records import Records

LEDGER = "goodput.jsonl"
NS = 1_000_000_000


class Span(StrEnum):
    """What a process of the run was at."""

    BEGAN = "began"
    """Nothing yet: the first line, whose span is empty."""
    DOWN = "down"
    """No process was alive."""
    START = "start"
    """Imports, data and weights loaded, ranks meeting."""
    STEP = "step"
    """Reading a batch and learning from it, metrics included."""
    CHECKPOINT = "checkpoint"
    """What training waited for; the writer works beside it."""
    EVALUATION = "evaluation"


class Ledger:
    """A run's spans, as they end.

    Args:
        file: where they are kept, and found by the next process; None keeps none.
        clock: nanoseconds, comparable between the processes of a run.

    Example:
        ledger = Ledger(folder / LEDGER)
        ledger.mark(Span.STEP, phase="pretrain", step=17)
    """

    def __init__(self, file: Path | None, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._records = None if file is None else Records(file)
        self._clock = clock
        self._last = 0
        if self._records is None:
            return
        self._records.mend()
        for record in self._records:
            self._last = record["at"]

    def begin(self, at: int | None = None) -> None:
        """A run begins, or goes on: what lies before was nobody's. Called once a launch.

        Args:
            at: when the process came to be, if that was earlier than now.
        """
        self.mark(Span.DOWN if self._last else Span.BEGAN, at=at)

    def mark(self, span: str, *, phase: str = "", step: int = 0, at: int | None = None) -> None:
        """End a span now; it began where the one before it ended.

        Raises:
            RecordsError: the disk refused.
        """
        if self._records is None:
            return
        # a clock that was set back must not make a span negative
        self._last = max(self._last, self._clock() if at is None else at)
        self._records.append({"at": self._last, "span": span, "phase": phase, "step": step})


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """Wall-clock in nanoseconds, in parts that add up to `wall`.

    Example:
        read_goodput(folder / LEDGER).goodput
    """

    ideal: int
    """Steps that count, each as long as the ideal step at most."""
    slow: int
    """What they took beyond that."""
    recomputation: int
    """Steps that were lost with a process and taken again."""
    start: int
    """Start-up."""
    checkpoint: int
    """Waiting for checkpoints."""
    evaluation: int
    """Scoring held-out sets."""
    down: int
    """No process was alive."""

    @property
    def wall(self) -> int:
        """From the first process's start to the last span's end."""
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def goodput(self) -> float:
        """Share of the wall-clock that was ideal training; 0 before the first step."""
        return self.ideal / self.wall if self.wall else 0.0

    def table(self) -> str:
        """The parts, as a person reads them."""
        rows = [
            ("ideal steps", self.ideal),
            ("slow steps", self.slow),
            ("recomputation", self.recomputation),
            ("start-up", self.start),
            ("checkpoints", self.checkpoint),
            ("evaluation", self.evaluation),
            ("nothing ran", self.down),
            ("wall-clock", self.wall),
        ]
        lines = [
            f"{name:<14}{part / NS:>12,.1f} s{part / max(self.wall, 1):>8.1%}"
            for name, part in rows
        ]
        return "\n".join([*lines, f"{'goodput':<14}{'':>14}{self.goodput:>8.1%}"])


def read_goodput(file: Path, *, ideal_step_s: Mapping[str, float] | None = None) -> Goodput:
    """What the ledger comes to.

    Args:
        file: the ledger.
        ideal_step_s: seconds of an ideal step, by phase; the median of a phase's own steps where
            it is not given, for the report does not say what it takes.
    """
    parts: dict[str, int] = dict.fromkeys((field.name for field in fields(Goodput)), 0)
    steps: dict[tuple[str, int], int] = {}
    last = 0
    for record in Records(file):
        span, taken = record["span"], record["at"] - (last or record["at"])
        last = record["at"]
        if span == Span.STEP:
            key = (record["phase"], record["step"])
            parts["recomputation"] += steps.get(key, 0)
            steps[key] = taken
        elif span != Span.BEGAN:
            parts[span] += taken
    for phase in dict.fromkeys(phase for phase, _ in steps):
        taken_by_step = [taken for (name, _), taken in steps.items() if name == phase]
        given = (ideal_step_s or {}).get(phase, 0.0)
        ideal_step = int(given * NS) if given else median_low(taken_by_step)
        ideal = sum(min(taken, ideal_step) for taken in taken_by_step)
        parts["ideal"] += ideal
        parts["slow"] += sum(taken_by_step) - ideal
    return Goodput(**parts)
