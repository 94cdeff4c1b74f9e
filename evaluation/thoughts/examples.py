"""The most telling replies of each feature at four steps, cut around what was found."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from munro.evaluation.thoughts.types import Array, Feature, Rows, matched

STEPS = 4
EACH = 3
AROUND = 260
"""Characters on either side of what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One reply, as far as it is shown.

    Example:
        Example(step=3, task="1+1", value=2.0, before="It is 3. ", found="Wait", after=", no.")
    """

    step: int
    task: str
    value: float
    before: str
    found: str
    after: str


def spread(steps: Sequence[int], most: int = STEPS) -> list[int]:
    """At most so many steps: the first, the last, and evenly between."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(at * (len(steps) - 1) / (most - 1))] for at in range(most)]


@dataclass(slots=True)
class Examples:
    """The highest values seen so far."""

    features: Mapping[str, Feature]
    steps: Sequence[int]
    _best: dict[tuple[str, int], list[tuple[float, int, str, str]]] = field(default_factory=dict)
    _seen: int = 0

    def add(self, rows: Rows, values: Mapping[str, Array]) -> None:
        """Look at these, of which only those of the chosen steps count."""
        for step in self.steps:
            at = np.flatnonzero(rows.step == step)
            for name, value_N in values.items() if len(at) else ():
                best = self._best.setdefault((name, step), [])
                own = np.nan_to_num(value_N[at])
                for place in at[np.argsort(-own, kind="stable")[: 4 * EACH]]:
                    self._offer(best, float(value_N[place]), rows.text[place], rows.task[place])

    def found(self, name: str) -> list[Example]:
        """Those of one feature, by step, the highest first."""
        return [
            _cut(self.features[name], step, value, task, text)
            for step in self.steps
            for value, _, text, task in sorted(self._best.get((name, step), ()), reverse=True)
        ]

    def _offer(
        self, best: list[tuple[float, int, str, str]], value: float, text: str, task: str
    ) -> None:
        if not value > 0 or any(text == other for _, _, other, _ in best):
            return
        self._seen += 1
        heapq.heappush(best, (value, -self._seen, text, task))
        if len(best) > EACH:
            heapq.heappop(best)


def _cut(feature: Feature, step: int, value: float, task: str, text: str) -> Example:
    place = matched(feature.pattern, text) if feature.pattern else None
    begin, end = place or (0, 0)
    before, after = text[max(0, begin - AROUND) : begin], text[end : end + AROUND]
    if place is None:
        after = text[: 2 * AROUND]
    return Example(
        step=step,
        task=task,
        value=value,
        before=("… " if begin > AROUND else "") + before,
        found=text[begin : min(end, begin + AROUND)],
        after=after + (" …" if end + len(after) < len(text) else ""),
    )
