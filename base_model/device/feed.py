"""From the host's arrays to a device's tensors: laid out ahead, one buffer, one copy.

    this micro-batch    ───── computed on the device ─────►
    the next one        ── laid out on a thread ──► pinned buffer ──► copy, in the device's queue

The device never waits for the host to lay rows out, nor the host for a copy. On a CPU it is the
same, without pinning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Made = TypeVar("Made")

ALIGNED = 64
"""Bytes that every array in a buffer begins at a multiple of."""


def moved(tree: Any, device: torch.device) -> Any:
    """The same tree with a tensor on the device in place of every NumPy array.

    All of them come in one copy, which does not make the host wait: they share one storage.

    Args:
        tree: arrays, in dataclasses, mappings, tuples and lists; anything else stays as it is.
        device: where to.
    """
    arrays: list[NDArray[Any]] = []
    _each(tree, arrays.append)
    places, size = [], 0
    for array in arrays:
        places.append(size)
        size += -(-array.nbytes // ALIGNED) * ALIGNED
    host = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    raw = host.numpy()
    for place, array in zip(places, arrays, strict=True):
        raw[place : place + array.nbytes].view(array.dtype).reshape(array.shape)[...] = array
    there = host.to(device, non_blocking=True)
    tensors = iter(
        there[place : place + array.nbytes].view(dtype_of(array)).view(array.shape)
        for place, array in zip(places, arrays, strict=True)
    )
    return _each(tree, lambda _: next(tensors))


def dtype_of(array: NDArray[Any]) -> torch.dtype:
    """What torch calls the type of an array's numbers."""
    return torch.from_numpy(np.empty(0, array.dtype)).dtype


def _each(tree: Any, change: Callable[[NDArray[Any]], Any]) -> Any:
    """The tree with every array in it changed, in a fixed order."""
    if isinstance(tree, np.ndarray):
        return change(tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        inner = {f.name: getattr(tree, f.name) for f in dataclasses.fields(tree) if f.init}
        return dataclasses.replace(tree, **_each(inner, change))
    if isinstance(tree, dict):
        return {name: _each(value, change) for name, value in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_each(value, change) for value in tree)
    return tree


def ahead(makers: Sequence[Callable[[], Made]], device: torch.device) -> Iterator[Made]:
    """What the makers make, in order, each made on a thread while the one before is worked on.

    Args:
        makers: called one after another, on one thread; what one raises is raised here.
        device: the thread's current one.
    """
    if not makers:
        return
    with ThreadPoolExecutor(1, "feed", initializer=_settle, initargs=(device,)) as thread:
        coming = thread.submit(makers[0])
        for maker in makers[1:]:
            made, coming = coming.result(), thread.submit(maker)
            yield made
        yield coming.result()


def _settle(device: torch.device) -> None:
    # the current device is a thread's own, and pinned memory is asked of the current one
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
