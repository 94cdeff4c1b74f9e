"""What a model's own weight loaders do, learnt by watching them load nothing.

    meta tensors ──► load_weights ──► copy_, seen by `Recorder` ──► Landings: box ──► parameter

A tensor on the meta device has no values, but its views know where they begin and how far apart
their elements are. So a loader may narrow, chunk, transpose and reshape as it likes: at its `copy_`
both sides say which elements of which storage they are. Nothing is written per model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from munro.rollout.transfer.types import Box

MOST_BOXES = 4096
"""Of one copy; a loader that scatters finer is better given the whole tensor."""

aten = torch.ops.aten
P = TypeVar("P", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Strided:
    """Elements of a storage: entry i of a tensor of that shape is at offset + sum(i * strides)."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, tensor: Tensor) -> Strided:
        """Where a tensor's elements are in its storage."""
        return cls(tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))

    def part(self, start: Sequence[int], shape: Sequence[int]) -> Strided:
        """Those of a box within it."""
        moved = sum(a * b for a, b in zip(start, self.strides, strict=True))
        return Strided(tuple(shape), self.strides, self.offset + moved)

    def moved(self, by: int) -> Strided:
        """The same elements, counted from elsewhere."""
        return Strided(self.shape, self.strides, self.offset + by)

    def view(self, tensor: Tensor) -> Tensor:
        """The elements themselves; `tensor` begins at its storage's element 0 as recorded."""
        offset = tensor.storage_offset() + self.offset
        return tensor.as_strided(self.shape, self.strides, offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """One box of a checkpoint's tensor, and where the loader puts it."""

    name: str
    box: Box
    at: Strided
    """In the parameter's storage, in the box's order of dimensions."""


class TooFine(Exception):
    """A copy is no small number of boxes."""


def boxes(shape: Sequence[int], read: Strided, write: Strided) -> Iterator[tuple[Box, Strided]]:
    """A strided copy as boxes of what is read.

    Args:
        shape: of the contiguous tensor that `read` indexes.
        read: elements taken; a stride of 0 takes one again and again.
        write: where each goes; of the same shape.

    Raises:
        TooFine: more than `MOST_BOXES`.
    """
    steps = torch.empty(tuple(shape), device="meta").stride()
    dims = [d for d in zip(read.shape, read.strides, write.strides, strict=True) if d[0] != 1]
    dims = _merged(sorted(dims, key=lambda d: -d[1]))
    left = [MOST_BOXES]

    def cut(dims: list[tuple[int, int, int]], at: int, to: int) -> Iterator[tuple[Box, Strided]]:
        start = [int(i) for i in np.unravel_index(at, shape)] if shape else []
        extent, strides = [1] * len(start), [0] * len(start)
        todo = list(dims)
        while todo:
            num, step, jump = todo.pop()
            k = _dimension(shape, steps, step)
            if k is not None and step == steps[k] and extent[k] == 1:
                if start[k] + num <= shape[k]:
                    extent[k], strides[k] = num, jump
                    continue
                if start[k] == 0 and num % shape[k] == 0:
                    todo.append((shape[k], step, jump))
                    todo.append((num // shape[k], step * shape[k], jump * shape[k]))
                    continue
            # no box has this pattern: its rows, one by one
            todo = [*todo, *_placed(extent, steps, strides)]
            for row in range(num):
                yield from cut(sorted(todo, key=lambda d: -d[1]), at + row * step, to + row * jump)
            return
        left[0] -= 1
        if left[0] < 0:
            raise TooFine
        stop = tuple(a + n for a, n in zip(start, extent, strict=True))
        yield Box(tuple(start), stop), Strided(tuple(extent), tuple(strides), to)

    if prod(read.shape):
        yield from cut(dims, read.offset, write.offset)


def _merged(dims: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Neighbours that both sides walk through without a jump are one."""
    out: list[tuple[int, int, int]] = []
    for num, step, jump in dims:
        if out and out[-1][1] == num * step and out[-1][2] == num * jump and step:
            out[-1] = (out[-1][0] * num, step, jump)
        else:
            out.append((num, step, jump))
    return out


def _dimension(shape: Sequence[int], steps: Sequence[int], step: int) -> int | None:
    """Along which dimension a stride goes."""
    fits = [k for k, own in enumerate(steps) if shape[k] > 1 and own <= step]
    return min(fits, default=None) if step else None


def _placed(
    extent: Sequence[int], steps: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int, int]]:
    return [d for d in zip(extent, steps, strides, strict=True) if d[0] > 1]


def written(num: int, places: Sequence[Strided]) -> tuple[int, int]:
    """How often the least and the most written of a storage's `num` elements are."""
    # in units of what all places are multiples of: rows, not elements
    dims = [d for place in places for d in zip(place.shape, place.strides, strict=True) if d[0] > 1]
    runs = [n for n, step in dims if step == 1]
    jumps = [step for _, step in dims if step != 1]
    is_rows = all(1 in place.strides for place in places)
    unit = gcd(num, *runs, *jumps, *(p.offset for p in places)) if is_rows else 1
    count = torch.zeros(num // unit, dtype=torch.uint8)
    for place in places:
        pairs = list(zip(place.shape, place.strides, strict=True))
        shape = [n // unit if step == 1 and n > 1 else n for n, step in pairs]
        strides = [step // unit if step > 1 else step for _, step in pairs]
        count.as_strided(shape, strides, place.offset // unit).add_(1)
    return int(count.min()), int(count.max())


class Recorder(TorchDispatchMode, Generic[P]):  # type: ignore[no-untyped-call]
    """While it is entered, notes what reaches which parameter, and from where.

    P is whatever parameters are called by.
    """

    def __init__(self, sources: Mapping[str, Tensor], places: Mapping[P, Tensor]) -> None:
        """
        Args:
            sources: contiguous tensors on the meta device, by their names in the checkpoint.
            places: parameters and buffers, on the meta device or, then left alone, elsewhere.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._sources = {_storage(t): (name, tuple(t.shape)) for name, t in sources.items()}
        self._places = {_storage(tensor): place for place, tensor in places.items()}
        self._first = {place: int(tensor.storage_offset()) for place, tensor in places.items()}
        self._sizes = {place: tensor.numel() for place, tensor in places.items()}
        self._copies: dict[int, tuple[int, Strided]] = {}
        self._made: dict[int, set[str]] = {}
        self._kept: list[Any] = [*sources.values(), *places.values()]
        self.landings: dict[P, list[Landing]] = defaultdict(list)
        self.fills: dict[P, list[tuple[Strided, float]]] = defaultdict(list)
        self.spoiled: dict[P, set[str]] = defaultdict(set)
        """What got values in a way that is no copy of a box, and from which tensors."""

    def names(self, *tensors: Tensor) -> set[str]:
        """The tensors of the checkpoint that some values come from."""
        found: set[str] = set()
        for tensor in tensors:
            storage = _storage(tensor)
            while storage in self._copies:
                storage = self._copies[storage][0]
            found |= self._made.get(storage, set())
            if storage in self._sources:
                found.add(self._sources[storage][0])
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation of a loader."""
        kwargs = kwargs or {}
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        changed = _changed(func, args, kwargs)
        for tensor in changed:
            place = self._places.get(_storage(tensor))
            if place is None:
                self._made.setdefault(_storage(tensor), set()).update(self.names(*inputs))
            else:
                self._write(func, place, tensor, args, inputs)
        if changed and not all(tensor.is_meta for tensor in inputs):
            return args[0]
        out = func(*args, **kwargs)
        if not changed:
            self._follow(func, inputs, out)
        return out

    def _write(
        self, func: Any, place: P, tensor: Tensor, args: Any, inputs: Sequence[Tensor]
    ) -> None:
        at = Strided.of(tensor).moved(-self._first[place])
        if func is aten.copy_.default:
            source = args[1].expand(tensor.shape)
            try:
                found = list(self._read(_storage(source), Strided.of(source), at))
            except TooFine:
                found = []
            if found or not tensor.numel():
                self.landings[place] += found
                return
        elif func in (aten.zero_.default, aten.fill_.Scalar):
            ats = [landing.at for landing in self.landings.get(place, [])]
            if written(self._sizes[place], [*ats, at])[1] <= 1:
                self.fills[place].append((at, float(args[1]) if len(args) > 1 else 0.0))
                return
        self.spoiled[place] |= self.names(*inputs)

    def _read(self, storage: int, read: Strided, write: Strided) -> Iterator[Landing]:
        """A copy as boxes of the checkpoint's tensors; nothing where it is of something else."""
        if storage in self._sources:
            name, shape = self._sources[storage]
            for box, at in boxes(shape, read, write):
                yield Landing(name=name, box=box, at=at)
        elif storage in self._copies:
            origin, view = self._copies[storage]
            for box, at in boxes(view.shape, read, write):
                yield from self._read(origin, view.part(box.start, box.shape), at)

    def _follow(self, func: Any, inputs: Sequence[Tensor], out: Any) -> None:
        """Remember where the values of new storages come from."""
        known = self.names(*inputs)
        for tensor in tree_leaves(out):
            if (
                not known
                or not isinstance(tensor, Tensor)
                or _storage(tensor) in map(_storage, inputs)
            ):
                continue
            self._kept.append(tensor)
            if func in (aten.clone.default, aten._to_copy.default) and _is_exact(inputs[0], tensor):
                self._copies[_storage(tensor)] = (_storage(inputs[0]), Strided.of(inputs[0]))
            else:
                self._made[_storage(tensor)] = known


def _storage(tensor: Tensor) -> int:
    """The same for all views of one tensor, as long as that lives."""
    return int(tensor.untyped_storage()._cdata)


def _changed(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """What an operation writes into."""
    given = [
        args[i] if i < len(args) else kwargs.get(argument.name)
        for i, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [x for x in tree_leaves(given) if isinstance(x, Tensor)]


def _is_exact(before: Tensor, after: Tensor) -> bool:
    """A copy in the same order that rounds nothing."""
    same = before.dtype == after.dtype
    wider = torch.promote_types(before.dtype, after.dtype) == after.dtype
    return after.is_meta and after.is_contiguous() and (same or wider)
