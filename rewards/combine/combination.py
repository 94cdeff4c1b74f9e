"""How named parts of one task's reward become one number, for a whole group of attempts.

    needed     what must be scored next: nothing behind a gate that is closed
    rewards    R_task of each attempt, once all that is needed is there
    verdict    whether an attempt passes, which pass rates count

The tree (`munro.rewards.combine.tree`) says how. What it gives is R_task of Eq. 10 of the
MAI-Thinking-1 report; the penalties of that equation stay apart (`munro.rewards.combine.compose`).
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import pstdev
from typing import Any

from munro.rewards.combine.tree import LEVELS, Gated, Lexicographic, Severity, Sum, children

SLACK = 1e-9
"""By which rounding may carry a part out of its range."""

Known = Sequence[Mapping[str, float]]
"""Parts scored so far, by name, one mapping an attempt of the group."""


@dataclass(frozen=True, slots=True)
class Combination:
    """A tree, ready to combine.

    Example:
        tree = node_of({"kind": "lexicographic", "parts": ["correct", "brief"]})
        combination = Combination(tree, {"correct": (0, 1), "brief": (0, 1)})
        combination.rewards([{"correct": 1, "brief": 0.2}, {"correct": 1, "brief": 0.8}])
        # [0.2, 0.8]: both are correct, so brevity decides
    """

    node: Any
    """As `node_of` gives it."""
    ranges: Mapping[str, tuple[float, float]]
    """Least and largest value of each part, which gates take their minimum from."""

    def __post_init__(self) -> None:
        """Raises ValueError where a gate's minimum is not below all that it guards."""
        self.bounds()

    def bounds(self) -> tuple[float, float]:
        """Least and largest reward."""
        return _bounds(self.node, self.ranges)

    def needed(self, known: Known) -> dict[str, list[int]]:
        """Parts that must be scored next, each with the attempts that need it; {} when all is here.

        What is behind a gate shows up once the gate is scored, and only for attempts that pass.
        """
        wanted: dict[str, list[int]] = {}
        self._need(self.node, known, range(len(known)), wanted)
        return {name: sorted(set(rows)) for name, rows in wanted.items()}

    def rewards(self, known: Known) -> list[float]:
        """R_task of every attempt of one group.

        Raises:
            ValueError: a part is missing, NaN, infinite or outside its range.
        """
        for row in known:
            for name, value in row.items():
                self._check(name, value)
        values = self._values(self.node, known, range(len(known)))
        return [values[row] for row in range(len(known))]

    def verdict(self, known: Mapping[str, float], passed: Mapping[str, bool | None]) -> bool | None:
        """Whether one attempt passes; None where nothing in the tree can tell.

        A gate must be open, and what is behind it pass, if it has a verdict. Of priorities the
        first that has a verdict decides; in a sum all that have one must pass.

        Args:
            known: parts scored so far.
            passed: verdicts of the graders by part.
        """
        return self._verdict(self.node, known, passed)

    def undecided(
        self,
        known: Mapping[str, float],
        passed: Mapping[str, bool | None],
        late: Container[str] = (),
    ) -> list[str]:
        """Parts that must be scored before `verdict` can tell; [] once it can, or never will.

        Args:
            known: parts scored so far.
            passed: verdicts of the graders by part.
            late: parts that are scored for whole groups only, and have no verdict.
        """
        found = self._undecided(self.node, known, passed, late)
        return list(dict.fromkeys(found))

    def _verdict(
        self, node: Any, known: Mapping[str, float], passed: Mapping[str, bool | None]
    ) -> bool | None:
        if isinstance(node, str):
            return passed.get(node)
        if isinstance(node, Gated):
            if not self._need(node.gate, [known], [0], {}):
                return None
            if not self._passing(node, [known], [0]):
                return False
            return self._verdict(node.then, known, passed) is not False
        of_children = (self._verdict(child, known, passed) for child in children(node))
        found = [verdict for verdict in of_children if verdict is not None]
        if not found:
            return None
        return found[0] if isinstance(node, Lexicographic) else all(found)

    def _undecided(
        self,
        node: Any,
        known: Mapping[str, float],
        passed: Mapping[str, bool | None],
        late: Container[str],
    ) -> list[str]:
        if isinstance(node, str):
            return [] if node in known or node in late else [node]
        if isinstance(node, Gated):
            if missing := self._undecided(node.gate, known, passed, late):
                return missing
            is_open = self._need(node.gate, [known], [0], {}) and self._passing(node, [known], [0])
            return self._undecided(node.then, known, passed, late) if is_open else []
        if isinstance(node, Lexicographic):
            for part in node.parts:
                if missing := self._undecided(part, known, passed, late):
                    return missing
                if self._verdict(part, known, passed) is not None:
                    return []
            return []
        return [name for c in children(node) for name in self._undecided(c, known, passed, late)]

    def _check(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise ValueError(f"the part {name!r} is {value}: parts must be finite")
        low, high = self.ranges.get(name, (-math.inf, math.inf))
        if not low - SLACK <= value <= high + SLACK:
            raise ValueError(
                f"the part {name!r} is {value:g}, outside its range of {low:g} to {high:g}: "
                + (f"set graders.{name}.range" if "/" not in name else "mend its grader's Scale")
            )

    def _need(
        self, node: Any, known: Known, rows: Iterable[int], wanted: dict[str, list[int]]
    ) -> bool:
        """Enter what `node` still needs for these attempts; True where it needs nothing."""
        if isinstance(node, str):
            missing = [row for row in rows if node not in known[row]]
            if missing:
                wanted.setdefault(node, []).extend(missing)
            return not missing
        if isinstance(node, Gated):
            # attempts whose gate is scored go on, whatever their siblings wait for
            rows = list(rows)
            ready = [row for row in rows if self._need(node.gate, known, [row], wanted)]
            passing = self._passing(node, known, ready)
            is_complete = self._need(node.then, known, passing, wanted)
            if node.is_by_level:
                is_complete &= self._need_level(node, known, ready, wanted)
            return is_complete and len(ready) == len(rows)
        if isinstance(node, Lexicographic) and not node.every_part:
            rows = list(rows)
            for part in node.parts:
                if not self._need(part, known, rows, wanted):
                    return False
                if not _ties(self._values(part, known, rows).values(), node.tolerance):
                    return True
            return True
        rows = list(rows)
        complete = [self._need(child, known, rows, wanted) for child in children(node)]
        if isinstance(node, Severity):
            complete.append(self._need_level(node, known, rows, wanted))
        return all(complete)

    def _need_level(
        self,
        node: Severity | Gated,
        known: Known,
        rows: Iterable[int],
        wanted: dict[str, list[int]],
    ) -> bool:
        """The same for a level of severity, which a grader tells or the task brings."""
        return "/" not in node.level or self._need(node.level, known, rows, wanted)

    def _values(self, node: Any, known: Known, rows: Iterable[int]) -> dict[int, float]:
        """Value of `node` for these attempts."""
        rows = list(rows)
        match node:
            case str():
                return {row: _look_up(node, known[row]) for row in rows}
            case Sum():
                terms = [(self._values(part, known, rows), w) for part, w in node.terms]
                return {row: sum(weight * of[row] for of, weight in terms) for row in rows}
            case Severity():
                of = self._values(node.part, known, rows)
                by_level = node.multipliers
                return {row: of[row] * by_level[_level(node, known[row])] for row in rows}
            case Gated():
                passing = self._passing(node, known, rows)
                failing = [row for row in rows if row not in passing]
                values = self._values(node.then, known, passing)
                return values | {row: self._minimum(node, known[row]) for row in failing}
            case Lexicographic():
                return self._first_that_differs(node, known, rows)
        raise TypeError(f"{node!r} is no part of a reward")

    def _minimum(self, node: Gated, known: Mapping[str, float]) -> float:
        minima = _minima(node, self.ranges)
        return minima[_level(node, known)] if node.is_by_level else minima[0]

    def _first_that_differs(
        self, node: Lexicographic, known: Known, rows: Sequence[int]
    ) -> dict[int, float]:
        for part in node.parts:
            values = self._values(part, known, rows)
            if not _ties(values.values(), node.tolerance):
                return values
        return self._values(node.parts[0], known, rows)

    def _passing(self, node: Gated, known: Known, rows: Iterable[int]) -> list[int]:
        values = self._values(node.gate, known, rows)
        return [row for row, value in values.items() if value >= node.at_least]


def _look_up(name: str, known: Mapping[str, float]) -> float:
    if name not in known:
        raise ValueError(f"the part {name!r} is missing: it was not scored")
    return known[name]


def _ties(values: Iterable[float], tolerance: float) -> bool:
    values = list(values)
    return len(values) < 2 or pstdev(values) <= tolerance


def _level(node: Severity | Gated, known: Mapping[str, float]) -> int:
    level = known.get(node.level)
    if level is None or level not in range(LEVELS):
        raise ValueError(
            f"the level of severity {node.level!r} is {'missing' if level is None else level}: "
            f"give each task a whole number from 0 to {LEVELS - 1}"
        )
    return int(level)


def _bounds(node: Any, ranges: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    if isinstance(node, str):
        return ranges.get(node, (0.0, 1.0))
    if isinstance(node, Gated):
        _bounds(node.gate, ranges)
        minima, high = _minima(node, ranges), _bounds(node.then, ranges)[1]
        return min(minima), max(high, *minima)
    found = [_bounds(child, ranges) for child in children(node)]
    if isinstance(node, Sum):
        ends = [(w * low, w * high) for (low, high), (_, w) in zip(found, node.terms, strict=True)]
        return sum(min(pair) for pair in ends), sum(max(pair) for pair in ends)
    if isinstance(node, Severity):
        found = [(m * low, m * high) for low, high in found for m in node.multipliers]
    return min(low for low, _ in found), max(high for _, high in found)


def _minima(node: Gated, ranges: Mapping[str, tuple[float, float]]) -> tuple[float, ...]:
    """What failing a gate earns, by level where it is told so."""
    low, _ = _bounds(node.then, ranges)
    if node.minimum is None:
        return (low,)
    minima = node.minimum if isinstance(node.minimum, tuple) else (node.minimum,)
    if max(minima) > low:
        raise ValueError(
            f"minimum = {max(minima):g} of a gate is more than the least that an attempt behind "
            f"it can get ({low:g}): failing the gate would pay. Lower it, or leave it out."
        )
    return minima
