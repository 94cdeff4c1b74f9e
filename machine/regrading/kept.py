"""What was graded again, on disk: a line an attempt, added to as it comes.

settings.json     of what, and how; the same command goes on, another one is refused
grades.jsonl      one line an attempt: its name in the run, the old grade and the new one
changes.jsonl     those whose verdict or reward changed, with task and reply
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from munro.machine.loading import BadConfig
from munro.machine.run.files import explained, write_atomically
from munro.rewards.types import Grade

TINY = 1e-9
"""Difference of rewards that is none: sums of floats in another order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regraded:
    """One attempt.

    Example:
        Regraded(trace="12/7/0", env="arithmetic", task="17+25", old=old, new=new)
    """

    trace: str
    """Its name in the run: "step/index/attempt"."""
    env: str
    task: str
    old: Mapping[str, Any]
    """"solved", "reward", "reason"."""
    new: Mapping[str, Any] = field(default_factory=dict)
    """Likewise, with the "parts"; empty where no grade could be had."""
    why: str = ""
    """Why there is none."""
    is_final: bool = True
    """False for a failure of machinery, which another try may not meet."""

    @property
    def flipped(self) -> bool:
        """It passed and does not, or the other way round."""
        return bool(self.new) and self.new["solved"] != self.old["solved"]

    @property
    def changed(self) -> bool:
        """Its verdict or its reward is another one."""
        return bool(self.new) and (
            self.flipped or abs(self.new["reward"] - self.old["reward"]) > TINY
        )


def told(grade: Grade) -> dict[str, Any]:
    """A grade as plain data."""
    return {"solved": grade.solved, "reward": grade.reward, "reason": grade.reason}


class Kept:
    """A folder of attempts that were graded again; one process adds to it."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Open it, or begin it.

        Raises:
            BadConfig: it holds what was graded otherwise, or a line that nobody here wrote.
            RunError: the disk refuses.
        """
        self._file = folder / "grades.jsonl"
        self._changes = folder / "changes.jsonl"
        of = folder / "settings.json"
        text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
        if of.exists() and of.read_text(encoding="utf-8") != text:
            raise BadConfig(
                f"{folder} holds what was graded with other settings: give another --out."
            )
        write_atomically(of, text)
        self.rows = {row.trace: row for row in self._read() if row.is_final}
        # what a crash left half written, and failures that are to be tried again, go
        write_atomically(self._file, "".join(map(_line, self.rows.values())))

    def add(self, rows: Sequence[Regraded]) -> None:
        """Keep those that are not there yet, and hand them to the operating system.

        Raises:
            RunError: the disk refuses.
        """
        rows = [row for row in rows if row.trace not in self.rows]
        with explained(self._file), self._file.open("a", encoding="utf-8") as file:
            file.write("".join(map(_line, rows)))
        self.rows |= {row.trace: row for row in rows}

    def write_changes(self, texts: Iterator[tuple[str, Mapping[str, str]]]) -> Path:
        """Write what changed.

        Args:
            texts: of each attempt that did: its name in the run, and "prompt" and "reply".

        Raises:
            RunError: the disk refuses.
        """
        lines = []
        for trace, text in texts:
            row = self.rows[trace]
            told_row: dict[str, Any] = {"trace": trace, "env": row.env, "task": row.task, **text}
            told_row |= {"old": dict(row.old), "new": dict(row.new)}
            lines.append(json.dumps(told_row, ensure_ascii=False) + "\n")
        write_atomically(self._changes, "".join(lines))
        return self._changes

    def _read(self) -> Iterator[Regraded]:
        if not self._file.exists():
            return
        *whole, _cut = self._file.read_text(encoding="utf-8").split("\n")
        for number, text in enumerate(whole, 1):
            try:
                yield Regraded(**json.loads(text))
            except (ValueError, TypeError):
                raise BadConfig(
                    f"{self._file}:{number} is no line that `munro regrade` wrote: give another "
                    "--out, or remove that folder to begin anew."
                ) from None


def _line(row: Regraded) -> str:
    return json.dumps(asdict(row), ensure_ascii=False, default=str) + "\n"
