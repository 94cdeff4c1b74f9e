"""The last pass rate of every task that was seen: a table in memory with a log on the disk.

    {"task": "17+25", "rate": 0.25, "step": 12}

A line counts in the checkpoint after its step, as the journal's do. What a resume makes void is
left out when the log is opened again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path


class PassRates:
    """The table of one climb.

    Example:
        rates = PassRates(run / "pass_rates.jsonl", {}, step=0)
        rates.note("17+25", 0.25, step=0)
        rates.of("17+25")  # 0.25
    """

    def __init__(self, path: Path, known: Mapping[str, float], step: int) -> None:
        """
        Args:
            path: of the log; written anew with what still counts.
            known: from a checkpoint that was written before there was a log.
            step: that the climb goes on after.
        """
        rows = [(task, rate, step - 1) for task, rate in known.items()]
        rows += [row for row in _rows(path) if row[2] < step]
        kept = {task: (rate, at) for task, rate, at in rows}
        self._rates = {task: rate for task, (rate, _) in kept.items()}
        draft = path.with_name(f".{path.name}.draft")
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(_line(task, *row) for task, row in kept.items())
        draft.replace(path)
        self._path, self._new = path, list[str]()

    def of(self, task: str) -> float | None:
        """Of a task; None for one that was never measured."""
        return self._rates.get(task)

    def note(self, task: str, rate: float, step: int) -> None:
        """A task was measured after `step`."""
        self._rates[task] = rate
        self._new.append(_line(task, rate, step))

    def gone_back(self, step: int) -> PassRates:
        """The table as it counts after that step."""
        self.flush()
        return PassRates(self._path, {}, step)

    def flush(self) -> None:
        """Append what was noted to the log."""
        if self._new:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(self._new)
            self._new.clear()


def _line(task: str, rate: float, step: int) -> str:
    return json.dumps({"task": task, "rate": rate, "step": step}) + "\n"


def _rows(path: Path) -> Iterator[tuple[str, float, int]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
                yield row["task"], row["rate"], row["step"]
            except (json.JSONDecodeError, KeyError, TypeError):  # cut short by a crash
                continue
