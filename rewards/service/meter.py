"""What the graders of a process did since anyone last asked, by kind, as metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

QUEUE, RATE, SECONDS = "queue_s", "per_s", "seconds"


@dataclass(slots=True)
class _Tally:
    graded: int = 0
    failed: int = 0
    queue_s: float = 0.0
    seconds: float = 0.0


@dataclass(slots=True)
class Meter:
    """Counts gradings. Safe to use from many threads.

    Example:
        meter.count("math", queue_s=0.01, seconds=0.2)
        meter.take()    # {"grade/math/graded": 1.0, "grade/math/queue_s": 0.01, ...}
    """

    _tallies: dict[str, _Tally] = field(default_factory=dict)
    _since: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, *, queue_s: float, seconds: float, failed: bool = False) -> None:
        """One grading that ended, in a grade or in a named failure."""
        with self._lock:
            tally = self._tallies.setdefault(kind, _Tally())
            tally.graded += not failed
            tally.failed += failed
            tally.queue_s += queue_s
            tally.seconds += seconds

    def take(self) -> dict[str, float]:
        """Figures since the last call, for every kind that was ever counted.

        `graded` and `failed` are counts; `queue_s` and `seconds` are means of a grading's wait and
        work, in seconds; `per_s` is grades per second of wall time.
        """
        with self._lock:
            now = time.monotonic()
            elapsed, self._since = now - self._since, now
            tallies = self._tallies
            self._tallies = {kind: _Tally() for kind in tallies}
        found: dict[str, float] = {}
        for kind, tally in sorted(tallies.items()):
            num = max(tally.graded + tally.failed, 1)
            found |= {
                f"grade/{kind}/graded": float(tally.graded),
                f"grade/{kind}/failed": float(tally.failed),
                f"grade/{kind}/{QUEUE}": tally.queue_s / num,
                f"grade/{kind}/{SECONDS}": tally.seconds / num,
                f"grade/{kind}/{RATE}": tally.graded / elapsed if elapsed > 0 else 0.0,
            }
        return found


def merged(several: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Figures of many processes as one: counts and rates added, means weighed by their counts."""
    figures = list(several)
    return {
        name: _merged(name, figures) for name in sorted({name for one in figures for name in one})
    }


def _merged(name: str, figures: Sequence[Mapping[str, float]]) -> float:
    kind, _, what = name.rpartition("/")
    if what not in (QUEUE, SECONDS):
        return sum(one.get(name, 0.0) for one in figures)
    counts = [one.get(f"{kind}/graded", 0.0) + one.get(f"{kind}/failed", 0.0) for one in figures]
    added = sum(n * one.get(name, 0.0) for n, one in zip(counts, figures, strict=True))
    return added / max(sum(counts), 1.0)
