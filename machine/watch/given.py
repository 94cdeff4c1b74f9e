"""Tasks that were given up, from the journal: which, when and why."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

MOST = 5000
"""Of the newest that are kept; all are counted."""


class GivenUp:
    """What the journal says of tasks that came to no group."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.total = 0
        self._newest: deque[dict[str, Any]] = deque(maxlen=MOST)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take in a line of the journal, of whatever kind."""
        if line.get("event") != "abandoned":
            return
        if "index" not in line:  # what a long journal says of earlier ones
            self.counts.update(line.get("reasons", {}))
            self.total += sum(line.get("reasons", {}).values())
            return
        rate, attempts = line.get("pass_rate"), line.get("attempts")
        passed = None
        if isinstance(rate, int | float) and isinstance(attempts, int):
            passed = round(rate * attempts)
        reason = str(line.get("reason", "not said"))
        self.total += 1
        self.counts[reason] += 1
        self._newest.append(
            {
                "step": _int(line.get("step")) + 1,
                "index": _int(line.get("index")),
                "env": str(line.get("env", "")),
                "task": str(line.get("task", "")),
                "reason": reason,
                "passed": passed,
                "attempts": attempts if isinstance(attempts, int) else None,
                "detail": str(line.get("detail", "")),
            }
        )

    def rows(self, reason: str, first: int, count: int) -> tuple[list[dict[str, Any]], int]:
        """The newest ones first, of one reason or all; and how many there are of such."""
        found = [row for row in reversed(self._newest) if reason in ("", row["reason"])]
        return found[first : first + count], len(found)


def _int(value: object) -> int:
    return value if isinstance(value, int) else -1
