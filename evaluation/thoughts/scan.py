"""A judge on a sample of early and late replies, shuffled, who is told neither step nor end.

What word lists miss a judge may see; and a judge who knew which replies are late would find there
what he expects.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from munro.evaluation.statistics import Difference, Estimate, mean_of, t_outside, t_quantile
from munro.evaluation.thoughts.over_steps import EDGE, separated
from munro.evaluation.thoughts.reading import read_rows, steps_of
from munro.evaluation.thoughts.types import BadThoughts
from munro.rollout.store.store import RolloutStore

Ask = Callable[[Sequence[Mapping[str, Any]]], tuple[Sequence[float | None], Counter[str]]]
"""Items to a figure or none of each, and failures by their reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What the judge said.

    Example:
        scan(folder, ask, number=50, seed=0).difference
    """

    early: Estimate
    late: Estimate
    difference: Difference
    """Late less early."""
    asked: int
    failures: Mapping[str, int]


def scan(folder: Path, ask: Ask, *, number: int, seed: int) -> Scan:
    """Ask about `number` replies of the first tenth of the steps, and of the last.

    Args:
        folder: of the store.
        ask: the judge.
        number: of replies from either end; fewer where there are no more.
        seed: of the draw and of the order.

    Raises:
        BadThoughts: there are no two ends, or nothing came back of one.
        StoreError: a file is damaged.
    """
    steps = steps_of(folder)
    edge = max(1, round(EDGE * len(steps)))
    if len(steps) < 2:
        raise BadThoughts(f"{folder} holds one step: there is no early and late to compare.")
    chosen = [
        *((item, False) for item in _drawn(folder, steps[:edge], number, seed)),
        *((item, True) for item in _drawn(folder, steps[-edge:], number, seed)),
    ]
    order = np.random.default_rng(seed).permutation(len(chosen))
    items = [chosen[at][0] for at in order]
    figures, failures = ask(items)
    ends: dict[bool, list[float]] = {False: [], True: []}
    for at, figure in zip(order, figures, strict=True):
        if figure is not None:
            ends[chosen[at][1]].append(figure)
    for is_late, what in ((False, "early"), (True, "late")):
        if not ends[is_late]:
            why = f" ({failures.most_common(1)[0][0]})" if failures else ""
            raise BadThoughts(f"the judge gave no figure for any {what} reply{why}.")
    early, late = (mean_of([[one] for one in ends[is_late]]) for is_late in (False, True))
    return Scan(
        early=early,
        late=late,
        difference=_welch(ends[False], ends[True]),
        asked=len(items),
        failures=dict(failures),
    )


def lines(found: Scan) -> Iterator[str]:
    """What a person is told."""
    yield f"early {found.early}, late {found.late}: {found.difference}"
    failed = sum(found.failures.values())
    more = f", {failed} without a verdict, which count nowhere" if failed else ""
    yield f"{found.asked} replies, shuffled and without their steps{more}"


def _drawn(folder: Path, steps: Sequence[int], number: int, seed: int) -> list[Mapping[str, str]]:
    """Replies of these steps by lot: those whose names hash lowest."""
    names = [row["trace"] for row in RolloutStore(folder).scan(["trace"], steps=steps)]

    def lot(name: str) -> bytes:
        return blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()

    traces = sorted(names, key=lot)[:number]
    return [
        {"question": prompt, "response": text}
        for rows in read_rows(folder, steps=steps, traces=traces)
        for prompt, text in zip(rows.prompt, rows.text, strict=True)
    ]


def _welch(early: Sequence[float], late: Sequence[float]) -> Difference:
    a, b = np.array(early), np.array(late)
    mean = float(b.mean() - a.mean())
    if min(len(a), len(b)) < 2:
        return Difference(mean=mean, low=-math.inf, high=math.inf, p=1.0)
    parts = [float(x.var(ddof=1)) / len(x) for x in (a, b)]
    error = math.sqrt(sum(parts))
    if not error:
        p = 1.0 if not mean else separated(len(a), len(b))
        return Difference(mean=mean, low=mean, high=mean, p=p)
    degrees = error**4 / sum(part**2 / (len(x) - 1) for part, x in zip(parts, (a, b), strict=True))
    whole = max(1, int(degrees))
    half = t_quantile(0.95, whole) * error
    return Difference(
        mean=mean, low=mean - half, high=mean + half, p=t_outside(mean / error, whole)
    )
