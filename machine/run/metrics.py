"""The metrics of a run: one JSON line a step, readable while it grows.

A line is flat: `step`, numbers under names such as `reward/total`, and perhaps `event`, a list of
sentences about what happened at that step. Numbers are written so that reading them back gives the
same bits; what is not finite becomes null, since JSON has no word for it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from munro.machine.run.files import RunError, explained, write_atomically

EVENT = "event"
"""Key of the sentences about a step; every other value of a line is a number or null."""

Value = float | int | Sequence[str] | None


def is_timing(name: str) -> bool:
    """A metric of the clock, which two runs of one seed never share.

    Example:
        is_timing("time/step") and not is_timing("reward/total")
    """
    return name.startswith(("time/", "speed/", "grade/", "calls/seconds/"))


class MetricsLog:
    """`metrics.jsonl`: appended to by the one process that holds the run, read by anyone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends_clean = False

    def append(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Add the line of one step and hand it to the operating system.

        Raises:
            RunError: disk full, no permission.
        """
        line = {"step": step} | {
            name: _as_json(value) for name, value in metrics.items() if name != "step"
        }
        text = json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n"
        self._mend()
        with explained(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()

    def flush_to_disk(self) -> None:
        """Survive a power cut up to here; worth calling before a checkpoint is named."""
        if self.path.exists():
            with explained(self.path), self.path.open("rb") as file:
                os.fsync(file.fileno())

    def read(self, *, naming: str = "") -> list[dict[str, Any]]:
        """Every whole line, oldest first. A last line cut short by a crash is left out.

        Args:
            naming: leave out the lines that do not have this figure; they are not looked into.

        Raises:
            RunError: a line that is not the last one cannot be read.
        """
        if not self.path.exists():
            return []
        *whole, _cut = self.path.read_bytes().split(b"\n")
        lines = []
        name = json.dumps(naming, ensure_ascii=False).encode() if naming else b""
        for number, raw in enumerate(whole, start=1):
            if name not in raw:
                continue
            line = _parsed(raw)
            if line is not None:
                lines.append(line)
            elif number < len(whole):
                raise RunError(
                    f"Line {number} of {self.path} is not a step's metrics. Repair or delete that "
                    "line; the run itself is not affected."
                )
        return lines

    def truncate_after(self, step: int) -> int:
        """Forget the lines after `step`, which a resumed run is about to write again.

        Returns:
            How many whole lines were dropped.

        Raises:
            RunError: as `read`, or the file cannot be written.
        """
        lines = self.read()
        kept = [line for line in lines if line["step"] <= step]
        if self.path.exists():
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
            write_atomically(self.path, text)
        return len(lines) - len(kept)

    def _mend(self) -> None:
        """Cut away what a crash left of a last line, before the first append of this process."""
        if self._ends_clean:
            return
        if self.path.exists():
            raw = self.path.read_bytes()
            whole = raw[: raw.rfind(b"\n") + 1]
            if len(whole) < len(raw):
                with explained(self.path):
                    os.truncate(self.path, len(whole))
        self._ends_clean = True


def _as_json(value: Value) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Sequence):
        return [str(item) for item in value]
    if isinstance(value, int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    is_step = isinstance(line, dict) and isinstance(line.get("step"), int)
    return line if is_step else None
