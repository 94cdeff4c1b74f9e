"""The vocabulary of a weight transfer: which part of which tensor is where, and what moves.

    Held ──┐
           ├──► plan ──► Moves ──► execute
    Wanted ┘

Tensors go by their names in the model's checkpoint, whatever learner and server call them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangular part of a tensor: half-open ranges, one per dimension; () of a scalar.

    Example:
        Box((0, 64), (32, 128))  # tensor[0:32, 64:128]
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Box:
        """All of a tensor of that shape."""
        return cls((0,) * len(shape), tuple(shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Its edges."""
        return tuple(max(b - a, 0) for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Elements in it; 1 of a scalar's."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """What cuts it out of the tensor."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def __and__(self, other: Box) -> Box:
        """What both cover; of size 0 where that is nothing."""
        start = tuple(map(max, self.start, other.start))
        return Box(start, tuple(map(max, start, map(min, self.stop, other.stop))))

    def within(self, outer: Box) -> Box:
        """The same box as seen by who holds `outer` alone: its first element is at 0."""
        return Box(
            tuple(a - o for a, o in zip(self.start, outer.start, strict=True)),
            tuple(b - o for b, o in zip(self.stop, outer.start, strict=True)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A part of a tensor that a learner's rank has.

    Example:
        Held(rank=1, name="lm_head.weight", box=Box((32, 0), (64, 128)), dtype="float32")
    """

    rank: int
    name: str
    box: Box
    dtype: str
    """As torch calls it, without "torch."."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Into:
    """Where a wanted box lands, for a server that keeps it as part of something else."""

    parameter: str
    """The server's own name of it."""
    start: tuple[int, ...]
    """Where the box's first element goes, in the parameter's dimensions."""
    order: tuple[int, ...] = ()
    """Dimensions of the box in the parameter's order; empty for as they are, (1, 0) transposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A part of a tensor that a server's rank takes in. One rank may want several of one tensor.

    Example:
        Wanted(rank=0, name="model.layers.0.self_attn.q_proj.weight",
               box=Box((0, 0), (64, 128)), dtype="bfloat16",
               into=Into(parameter="model.layers.0.self_attn.qkv_proj.weight", start=(0, 0)))
    """

    rank: int
    """Among the server's own processes."""
    name: str
    box: Box
    dtype: str
    into: Into | None = None
    """None where the server keeps it under the same name, as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One box that goes from one rank to one rank: a row of `Moves`."""

    name: str
    source: int
    """Rank of the learner."""
    target: int
    """Rank within the server: the lead of all who want this very box."""
    box: Box
    dtype: str
    """Of what is sent: the narrower of the two sides'."""
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """Many moves, as columns. M moves of tensors with at most D dimensions."""

    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    """Of what is sent, one per name."""
    dims: NDArray[np.int8]
    """(names,) dimensions of each tensor"""
    name: NDArray[np.int32]
    """(M,) index into `names`"""
    source: NDArray[np.int32]
    """(M,)"""
    target: NDArray[np.int32]
    """(M,)"""
    start: NDArray[np.int64]
    """(M, D); 0 in dimensions that a tensor lacks"""
    stop: NDArray[np.int64]
    """(M, D); 1 in dimensions that a tensor lacks"""
    bytes: NDArray[np.int64]
    """(M,) on the wire"""
    bucket: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """(M,) which go together; in the order in which they go"""

    def __len__(self) -> int:
        return len(self.name)

    def __getitem__(self, row: int) -> Move:
        at = int(self.name[row])
        dims = int(self.dims[at])
        return Move(
            name=self.names[at],
            source=int(self.source[row]),
            target=int(self.target[row]),
            box=Box(
                tuple(map(int, self.start[row, :dims])), tuple(map(int, self.stop[row, :dims]))
            ),
            dtype=self.dtypes[at],
            bytes=int(self.bytes[row]),
        )

    def __iter__(self) -> Iterator[Move]:
        return (self[row] for row in range(len(self)))
