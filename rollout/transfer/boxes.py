"""Which part of a tensor each rank has: DTensor placements, and tensors inside other tensors.

Geometry over all ranks at once, in NumPy: no rank asks another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.rollout.transfer.types import Box, Into, Layout

Ints = NDArray[np.int64]

ROWS_BYTES = 32 << 20
"""A large tensor is wanted in parts of about so many bytes, so that buckets stay what they are."""


class NotABox(Exception):
    """A tensor is spread in a way that is not one box a rank; says which."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A tensor's parts on all ranks that have one. R ranks, D dimensions."""

    rank: Ints
    """(R,)"""
    start: Ints
    """(R, D)"""
    stop: Ints
    """(R, D); not above `start` where a rank has nothing."""

    def of(self, rank: int) -> Box:
        """One rank's part; empty of a rank that is not there."""
        (at,) = np.nonzero(self.rank == rank)
        if not len(at):
            return Box(*((0,) * self.start.shape[1],) * 2)
        return Box(tuple(map(int, self.start[at[0]])), tuple(map(int, self.stop[at[0]])))

    def inside(self, into: Into, shape: Sequence[int]) -> Spread:
        """The same of a tensor of `shape` that lies in this one."""
        order = list(into.order or range(len(shape)))
        first = np.array(into.start, np.int64)
        last = first + 1
        last[order] += np.array(shape, np.int64) - 1
        start = np.maximum(self.start, first)
        stop = np.minimum(self.stop, last)
        # nothing in a dimension that the tensor has not got is nothing at all
        stop = np.where((stop > start).all(axis=1, keepdims=True), stop, start)
        return Spread(
            rank=self.rank, start=(start - first)[:, order], stop=(stop - first)[:, order]
        )


def boxes(shape: Sequence[int], mesh: NDArray[np.int64], placements: Sequence[Any]) -> Spread:
    """Which part of a DTensor each rank of its mesh has.

    By torch's rule: dimensions of the mesh cut one after another, each into equal parts rounded
    up, so that the last may be smaller, or empty.

    Args:
        shape: of the whole tensor.
        mesh: ranks, one dimension for each placement.
        placements: torch's `Shard` and `Replicate`.

    Raises:
        NotABox: another placement, named.
    """
    ranks = int(mesh.size)
    start = np.zeros((ranks, len(shape)), np.int64)
    stop = np.tile(np.array(shape, np.int64), (ranks, 1))
    places = np.indices(mesh.shape).reshape(mesh.ndim, ranks)
    for at, parts, placement in zip(places, mesh.shape, placements, strict=True):
        kind = type(placement).__name__
        if kind == "Shard":
            dim = placement.dim % len(shape)
            each = -(-(stop[:, dim] - start[:, dim]) // parts)
            low = np.minimum(start[:, dim] + at * each, stop[:, dim])
            start[:, dim], stop[:, dim] = low, np.minimum(low + each, stop[:, dim])
        elif kind != "Replicate":
            raise NotABox(
                f"a weight of shape {tuple(shape)} is spread by {kind}: a transfer knows Shard and "
                'Replicate. Shard the learner in another way, or set sync.transport = "file".'
            )
    return Spread(rank=mesh.reshape(-1).astype(np.int64), start=start, stop=stop)


def everywhere(shape: Sequence[int], ranks: int) -> Spread:
    """A tensor that each of `ranks` has whole."""
    return Spread(
        rank=np.arange(ranks, dtype=np.int64),
        start=np.zeros((ranks, len(shape)), np.int64),
        stop=np.tile(np.array(shape, np.int64), (ranks, 1)),
    )


def layout(parts: Sequence[tuple[str, str, Spread]]) -> Layout:
    """All tensors' parts as one: names, precisions and where they are."""
    deepest = max((spread.start.shape[1] for _, _, spread in parts), default=0)

    def column(fill: int, of: list[Ints]) -> Ints:
        rows = [np.full((len(a), deepest), fill, np.int64) for a in of]
        for row, a in zip(rows, of, strict=True):
            row[:, : a.shape[1]] = a
        return np.concatenate(rows) if rows else np.zeros((0, deepest), np.int64)

    spreads = [spread for _, _, spread in parts]
    counts = [len(spread.rank) for spread in spreads]
    return Layout(
        names=tuple(name for name, _, _ in parts),
        dtypes=tuple(dtype for _, dtype, _ in parts),
        dims=np.array([spread.start.shape[1] for spread in spreads], np.int64),
        name=np.repeat(np.arange(len(parts)), counts).astype(np.int64),
        rank=np.concatenate([s.rank for s in spreads] or [np.zeros(0, np.int64)]),
        start=column(0, [spread.start for spread in spreads]),
        stop=column(1, [spread.stop for spread in spreads]),
    )


def rows(box: Box, element_bytes: int) -> Iterator[Box]:
    """A box in parts of some rows each, of about `ROWS_BYTES`."""
    if not box.start:
        yield box
        return
    num = max(ROWS_BYTES // max(prod(box.shape[1:]) * element_bytes, 1), 1)
    for low in range(box.start[0], box.stop[0], num):
        high = min(low + num, box.stop[0])
        yield Box((low, *box.start[1:]), (high, *box.stop[1:]))
