"""The vocabulary of a weight transfer: which part of which tensor is where, and what moves.

    Held ───► Layout ─┐
                      ├──► plan.compile ──► Plan ──► execute
    Wanted ─► Layout ─┘

Tensors go by their names in the model's checkpoint, whatever learner and server call them.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
    """Where a box lies in a parameter that keeps it as part of something else.

    Example:
        Into(parameter="experts.down_proj", start=(3, 0, 0), order=(1, 2))  # that of expert 3
    """

    parameter: str
    """By the name that the process which has it calls it."""
    start: tuple[int, ...]
    """Where the box's first element is, in the parameter's dimensions."""
    order: tuple[int, ...] = ()
    """For each dimension of the box, the parameter's that it runs along: (1, 0) is transposed.
    Empty for the same ones."""


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
class Layout:
    """What the ranks of one side hold or want, as columns. P parts of N tensors, at most D
    dimensions."""

    names: tuple[str, ...]
    """In the order of the model."""
    dtypes: tuple[str, ...]
    """(N,)"""
    dims: NDArray[np.int64]
    """(N,) dimensions of each tensor"""
    name: NDArray[np.int64]
    """(P,) index into `names`"""
    rank: NDArray[np.int64]
    """(P,)"""
    start: NDArray[np.int64]
    """(P, D); 0 in dimensions that a tensor lacks"""
    stop: NDArray[np.int64]
    """(P, D); 1 in dimensions that a tensor lacks"""

    @classmethod
    def of(cls, parts: Iterable[Held | Wanted]) -> Layout:
        """From parts one by one.

        Raises:
            ValueError: one tensor has parts of several precisions or numbers of dimensions.
        """
        parts = list(parts)
        kinds: dict[str, tuple[str, int]] = {}
        for part in parts:
            kind = (part.dtype, len(part.box.start))
            if kinds.setdefault(part.name, kind) != kind:
                raise ValueError(f"{part.name}: parts of {kinds[part.name]} and of {kind}")
        at = {name: i for i, name in enumerate(kinds)}
        deepest = max((dims for _, dims in kinds.values()), default=0)
        return cls(
            names=tuple(kinds),
            dtypes=tuple(dtype for dtype, _ in kinds.values()),
            dims=np.array([dims for _, dims in kinds.values()], np.int64),
            name=np.array([at[part.name] for part in parts], np.int64),
            rank=np.array([part.rank for part in parts], np.int64),
            start=_column([part.box.start for part in parts], deepest, 0),
            stop=_column([part.box.stop for part in parts], deepest, 1),
        )

    @classmethod
    def joined(cls, layouts: Sequence[Layout]) -> Layout:
        """Those of several ranks as one.

        Raises:
            ValueError: they know one tensor in several precisions or numbers of dimensions.
        """
        deepest = max(layouts, key=lambda one: one.start.shape[1])
        layouts = [one.deep(deepest) for one in layouts]
        kinds: dict[str, tuple[str, int]] = {}
        for one in layouts:
            for name, dtype, dims in zip(one.names, one.dtypes, one.dims.tolist(), strict=True):
                if kinds.setdefault(name, (dtype, dims)) != (dtype, dims):
                    raise ValueError(f"{name}: parts of {kinds[name]} and of {(dtype, dims)}")
        at = {name: i for i, name in enumerate(kinds)}
        places = [np.array([at[name] for name in one.names], np.int64) for one in layouts]
        return cls(
            names=tuple(kinds),
            dtypes=tuple(dtype for dtype, _ in kinds.values()),
            dims=np.array([dims for _, dims in kinds.values()], np.int64),
            name=np.concatenate([p[one.name] for p, one in zip(places, layouts, strict=True)]),
            rank=np.concatenate([one.rank for one in layouts]),
            start=np.concatenate([one.start for one in layouts]),
            stop=np.concatenate([one.stop for one in layouts]),
        )

    def deep(self, other: Layout) -> Layout:
        """The same, with columns for as many dimensions as the other has, if that is more."""
        more = other.start.shape[1] - self.start.shape[1]
        if more <= 0:
            return self
        wide = ((0, 0), (0, more))
        return replace(
            self,
            start=np.pad(self.start, wide),
            stop=np.pad(self.stop, wide, constant_values=1),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of all of it: two sides that say the same mean the same."""
        return digest(
            ["\n".join(self.names), "\n".join(self.dtypes)],
            [self.dims, self.name, self.rank, self.start, self.stop],
        )

    def packed(self) -> bytes:
        """For `unpacked`, in another process: no pickle."""
        file = io.BytesIO()
        words = "\n".join([*self.names, *self.dtypes]).encode()
        columns = {key: getattr(self, key) for key in COLUMNS}
        np.savez_compressed(file, words=np.frombuffer(words, np.uint8), **columns)
        return file.getvalue()

    @classmethod
    def unpacked(cls, packed: bytes) -> Layout:
        """What `packed` packed."""
        with np.load(io.BytesIO(packed), allow_pickle=False) as file:
            words = file["words"].tobytes().decode().split("\n")
            columns = {key: file[key] for key in COLUMNS}
        half = len(columns["dims"])
        return cls(names=tuple(words[:half]), dtypes=tuple(words[half : 2 * half]), **columns)


COLUMNS = ("dims", "name", "rank", "start", "stop")
"""Of a `Layout`: its arrays."""


def digest(texts: Sequence[str], arrays: Sequence[NDArray[np.int64]]) -> str:
    """SHA-256 of texts and integers, the same on every machine."""
    told = hashlib.sha256()
    for text in texts:
        told.update(f"{len(text)}:".encode() + text.encode())
    for array in arrays:
        told.update(f"{array.shape}".encode())
        told.update(np.ascontiguousarray(array, "<i8").tobytes())
    return told.hexdigest()


def _column(rows: Sequence[tuple[int, ...]], deepest: int, fill: int) -> NDArray[np.int64]:
    column = np.full((len(rows), deepest), fill, np.int64)
    for i, row in enumerate(rows):
        column[i, : len(row)] = row
    return column


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One box that goes from one rank to one rank: a row of a plan."""

    name: str
    source: int
    """Rank of the learner."""
    target: int
    """Rank within the server: the first of all who want this very box, its lead."""
    box: Box
    dtype: str
    """Of what is sent: the narrower of the two sides'."""
    bytes: int
    part: int
    """Which of the plan's wanted boxes it is a part of."""
