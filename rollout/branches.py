"""Token runs that form a tree: an episode whose template rewrote what was said before.

    tokens   0 1 2 3 4 5 6 7 8 9 10      forks = ((6, 2),)
             prompt|turn 1|              the token at 6 follows the one at 2, not the one at 5
                   └──── 6 7 8|turn 2    so turn 2 has read 0 1 2 6 7 8

Every token stands once, in the order in which it came to be; one without a fork follows the one
before it. An episode that only grew has no forks, and is one run.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Forks = Sequence[tuple[int, int]]
"""(place of a run's first token, place of the token that it follows; -1 for none), by the first."""


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens that follow one another.

    Example:
        Run(start=6, end=11, after=2)
    """

    start: int
    end: int
    """One past the last."""
    after: int
    """The token that the first one follows; -1 for none."""


def runs(num_tokens: int, forks: Forks) -> list[Run]:
    """The runs of so many tokens, in their order."""
    starts = [0, *(start for start, _ in forks)]
    ends = [*starts[1:], num_tokens]
    afters = [-1, *(after for _, after in forks)]
    return [Run(*one) for one in zip(starts, ends, afters, strict=True)]


def refuse_broken(num_tokens: int, forks: Forks) -> None:
    """Raise ValueError unless these are forks of so many tokens."""
    before = 0
    for start, after in forks:
        if not before < start < num_tokens or not -1 <= after < start:
            raise ValueError(f"({start}, {after}) is no fork of {num_tokens} tokens: {[*forks]}")
        before = start


def parents(num_tokens: int, forks: Forks) -> NDArray[np.int64]:
    """(N,) the token that each one follows; -1 where it is the first."""
    before = np.arange(-1, num_tokens - 1)
    for start, after in forks:
        before[start] = after
    return before


def depths(num_tokens: int, forks: Forks) -> NDArray[np.int64]:
    """(N,) how many tokens each one has before it on its own way."""
    found = np.arange(num_tokens)
    for run in runs(num_tokens, forks)[1:]:
        first = found[run.after] + 1 if run.after >= 0 else 0
        found[run.start : run.end] = first + np.arange(run.end - run.start)
    return found


def way(last: int, forks: Forks) -> NDArray[np.int64]:
    """Places of all that leads to a token, itself included, from the beginning."""
    pieces: list[NDArray[np.int64]] = []
    for run in reversed(runs(last + 1, [fork for fork in forks if fork[0] <= last])):
        if run.start <= last:
            pieces.append(np.arange(run.start, last + 1))
            last = run.after
    return np.concatenate(pieces[::-1]) if pieces else np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Branch:
    """One way through the tree."""

    tokens: NDArray[np.int64]
    """Places of its tokens, from the beginning."""
    own: NDArray[np.bool_]
    """For each, whether the policy sampled it and no branch before holds it."""


def branches(sampled: NDArray[np.bool_], forks: Forks) -> list[Branch]:
    """As few ways as hold every sampled token; each such token is one branch's own.

    Args:
        sampled: (N,) what the policy chose.
        forks: of those N tokens.
    """
    last = [
        run.start + int(np.flatnonzero(sampled[run.start : run.end])[-1])
        for run in runs(len(sampled), forks)
        if sampled[run.start : run.end].any()
    ]
    chosen: list[NDArray[np.int64]] = []
    is_passed = np.zeros(len(sampled), np.bool_)
    for place in reversed(last):
        # what a later way passes through needs none of its own
        if not is_passed[place]:
            chosen.append(way(place, forks))
            is_passed[chosen[-1]] = True
    is_free = sampled.copy()
    found = []
    for tokens in reversed(chosen):
        found.append(Branch(tokens, is_free[tokens]))
        is_free[tokens] = False
    return found


class Tree:
    """Tokens that grow from one place, or from another of those that are there.

    Example:
        tree = Tree()
        tree.append([1, 2, 3, 4])
        tree.turn_to([1, 2, 9])        # tree.forks == [(4, 1)]
    """

    def __init__(self) -> None:
        self._pieces: list[NDArray[np.int32]] = []
        self.forks: list[tuple[int, int]] = []
        self.way = np.zeros(0, np.int64)
        """Places of the tokens that lead to where it grows."""
        self.num_tokens = 0
        """All of them, each once."""

    @property
    def token_ids(self) -> NDArray[np.int32]:
        """Every token once."""
        if len(self._pieces) != 1:  # kept as one: it is asked for at every turn
            self._pieces = [np.concatenate([np.zeros(0, np.int32), *self._pieces])]
        return self._pieces[0]

    @property
    def current(self) -> NDArray[np.int32]:
        """What leads to where it grows: what was read and written last."""
        return self.token_ids[self.way]

    def copy(self) -> Tree:
        """The tree as it is now, however this one grows."""
        other = copy.copy(self)
        other._pieces, other.forks = [*self._pieces], [*self.forks]
        return other

    def append(self, token_ids: Sequence[int] | NDArray[np.int32]) -> None:
        """Grow by these."""
        if not len(token_ids):
            return
        last = int(self.way[-1]) if len(self.way) else -1
        if last != self.num_tokens - 1:
            self.forks.append((self.num_tokens, last))
        added = self.num_tokens + np.arange(len(token_ids))
        self._pieces.append(np.asarray(token_ids, np.int32))
        self.num_tokens += len(added)
        self.way = np.concatenate([self.way, added])

    def turn_to(self, token_ids: Sequence[int]) -> int:
        """Go on from a way that is exactly these tokens, of which only the new ones are added.

        Returns:
            How many were there already: the longest beginning that they share with any branch.
        """
        wanted = np.asarray(token_ids, np.int32)
        known = self.token_ids
        shared = self.way[:0]
        for run in runs(self.num_tokens, self.forks):
            ways = way(run.end - 1, self.forks)[: len(wanted)]
            differs = np.flatnonzero(known[ways] != wanted[: len(ways)])
            alike = ways[: differs[0]] if len(differs) else ways
            if len(alike) > len(shared):
                shared = alike
        self.way = shared
        self.append(wanted[len(shared) :])
        return len(shared)
