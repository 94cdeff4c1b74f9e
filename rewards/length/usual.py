"""How long answers to a context usually are, and a fixed price for being out of that range.

MAI-Thinking-1 report, section 3.4.1: judges like long answers, so a climb against them grows longer
and longer. The range is estimated offline (`munro lengths`), once for each context, and an answer
inside it is never told to be longer or shorter. Quantiles and price are not in the report.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from munro.rewards.length.units import UNITS

LEAST_SAMPLES = 4
"""References of a context that make a range; with fewer, the range over all contexts holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthRanges:
    """Usual lengths by context.

    Example:
        ranges = estimate([("joke", 12), ("joke", 30), ("joke", 18), ("joke", 22)])
        ranges.of("joke")       # (12, 30)
    """

    unit: str
    low: float
    """Quantile where a range begins."""
    high: float
    """Quantile where it ends."""
    overall: tuple[int, int]
    """Over all contexts, for those that have no range of their own."""
    contexts: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def of(self, context: str) -> tuple[int, int]:
        """Shortest and longest usual length, both inside."""
        return self.contexts.get(context, self.overall)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> LengthRanges:
        """Read what `save` wrote.

        Raises:
            ValueError: there is no such file, or something else is in it.
        """
        try:
            raw = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
            pairs = {str(name): _pair(pair) for name, pair in raw["contexts"].items()}
            unit, low, high = str(raw["unit"]), float(raw["low"]), float(raw["high"])
            overall = _pair(raw["overall"])
        except FileNotFoundError:
            raise ValueError(f"there is no file {path}: make it with `munro lengths`") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not what `munro lengths` writes: {error!r}") from error
        if unit not in UNITS:
            raise ValueError(f"{path}: unit {unit!r} is none of {', '.join(UNITS)}")
        return cls(unit=unit, low=low, high=high, overall=overall, contexts=pairs)


def estimate(
    lengths: Iterable[tuple[str, int]],
    *,
    unit: str = "words",
    low: float = 0.05,
    high: float = 0.95,
) -> LengthRanges:
    """Ranges from reference answers.

    Args:
        lengths: (context, length) of each.
        unit: of the lengths.
        low: quantile where a range begins.
        high: quantile where it ends.

    Raises:
        ValueError: there are no lengths, or the quantiles are none.
    """
    if not 0 <= low < high <= 1:
        raise ValueError(f"quantiles {low:g} and {high:g}: give 0 <= low < high <= 1")
    by_context: dict[str, list[int]] = defaultdict(list)
    for context, length in lengths:
        by_context[context].append(length)
    everything = sorted(length for found in by_context.values() for length in found)
    if not everything:
        raise ValueError("there are no answers to take lengths from")
    return LengthRanges(
        unit=unit,
        low=low,
        high=high,
        overall=_range(everything, low, high),
        contexts={
            context: _range(sorted(found), low, high)
            for context, found in by_context.items()
            if len(found) >= LEAST_SAMPLES
        },
    )


def _range(ordered: Sequence[int], low: float, high: float) -> tuple[int, int]:
    """Quantiles, rounded outwards to lengths that were seen."""
    last = len(ordered) - 1
    return ordered[math.floor(low * last)], ordered[math.ceil(high * last)]


def _pair(value: Any) -> tuple[int, int]:
    shortest, longest = value
    return int(shortest), int(longest)
