"""How a tree of token runs lies in one row: one number a token says who sees it.

    0 1 2 3 4 5 6 7 8 9      forks = ((6, 2),)
    0 1 2|3 4 5|             what follows a token, by any branch, lies together behind it:
         |6 7 8 9|           token 2 is seen by all that come after, token 3 only until 6

After a run come the runs that follow its tokens, those of its last tokens first.

Shape letters: N = tokens of a trajectory, K = those of them that the model must read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from munro.rollout.branches import Forks, Run, depths, parents, runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """One sequence in a row."""

    order: NDArray[np.int64]
    """(K,) places of its tokens in the sequence, as they lie."""
    until: NDArray[np.int64]
    """(K,) where in this order ends what follows each of them by any branch."""
    depth: NDArray[np.int64]
    """(K,) tokens before each of them on its own way."""
    predicted_at: NDArray[np.int64]
    """(N,) where in this order lies the token that each one follows; -1 for those that nobody
    asks for."""


def needed(sampled: NDArray[np.bool_], forks: Forks) -> list[Run]:
    """The runs as far as the model must read them to predict every sampled token, in order.

    Args:
        sampled: (N,) at least one of them is.
        forks: of those N tokens.
    """
    everything = runs(len(sampled), forks)
    starts = np.array([run.start for run in everything])
    ends = dict.fromkeys(range(len(everything)), 0)
    kept: list[Run] = []
    for number in reversed(range(len(everything))):
        run = everything[number]
        own = np.flatnonzero(sampled[run.start : run.end])
        end = max(ends[number], run.start + int(own[-1])) if len(own) else ends[number]
        if (len(own) or end > run.start) and run.after >= 0:
            follows = int(np.searchsorted(starts, run.after, side="right")) - 1
            ends[follows] = max(ends[follows], run.after + 1)
        if end > run.start:
            kept.append(Run(run.start, end, run.after))
    return kept[::-1]


def laid(sampled: NDArray[np.bool_], forks: Forks) -> Laid:
    """The tokens that the model must read, branch by branch."""
    read = needed(sampled, forks)
    starts = [run.start for run in read]
    children: dict[int, list[int]] = {}
    for number, run in enumerate(read):
        owner = int(np.searchsorted(starts, run.after, side="right")) - 1
        children.setdefault(owner, []).append(number)
    placed: list[tuple[int, int]] = []
    columns = 0
    waiting = children.get(-1, [])[::-1]
    while waiting:
        number = waiting.pop()
        placed.append((number, columns))
        columns += read[number].end - read[number].start
        # what is pushed last is laid next: that which follows the last token
        children[number] = sorted(children.get(number, []), key=lambda one: -read[one].after)
        waiting += children[number][::-1]
    until = _until(read, children, placed, columns)
    order = np.concatenate(
        [np.arange(read[number].start, read[number].end) for number, _ in placed]
    )
    at = np.full(len(sampled), -1)
    at[order] = np.arange(columns)
    before = parents(len(sampled), forks)
    return Laid(
        order=order,
        until=until,
        depth=depths(len(sampled), forks)[order],
        predicted_at=np.where(before >= 0, at[before], -1),
    )


def _until(
    read: Sequence[Run],
    children: dict[int, list[int]],
    placed: Sequence[tuple[int, int]],
    columns: int,
) -> NDArray[np.int64]:
    """See `Laid.until`; children before their parents, and of each parent the last ones first."""
    until = np.zeros(columns, np.int64)
    first = dict(placed)
    for number, column in reversed(placed):
        run = read[number]
        until[column : column + run.end - run.start] = column + run.end - run.start
        for child in children[number]:
            until[column : column + read[child].after + 1 - run.start] = until[first[child]]
    return until
