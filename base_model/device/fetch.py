"""Tensors of a device to the host's memory, many at a time, through memory that is pinned.

    device ── copy, in its queue ──► pinned buffer ──► ordinary memory
              (the next bucket meanwhile, into the other buffer)

A copy into ordinary memory makes the host wait for each tensor, and goes at a fraction of the bus.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

BUCKET = 1 << 30
"""Bytes of tensors that lie whole in one pinned buffer; two of these exist."""


def fetched(
    named: Iterable[tuple[str, Tensor]], *, bucket: int = BUCKET, at: str = "cuda"
) -> Iterator[tuple[str, Tensor]]:
    """The same tensors in the host's memory, in their order.

    What comes is the host's own copy, but of a tensor that was there already it is that one.

    Args:
        named: consumed a bucket ahead of what is given.
        bucket: bytes; a larger tensor goes alone.
        at: the kind of device that is fetched from.
    """
    buffers = [_Buffer(bucket), _Buffer(bucket)]
    turn = 0
    for name, tensor in named:
        own = 0 if tensor.device.type != at else tensor.nbytes
        if own and not buffers[turn].has_room(own):
            # the one before it has had this bucket's time to arrive
            turn = 1 - turn
            yield from buffers[turn].emptied()
        buffers[turn].take(name, tensor, own)
    for which in (1 - turn, turn):
        yield from buffers[which].emptied()


@dataclass
class _Buffer:
    size: int
    pinned: Tensor | None = None
    used: int = 0
    items: list[tuple[str, Tensor]] = field(default_factory=list)
    arrived: torch.cuda.Event | None = None

    def has_room(self, size: int) -> bool:
        return not self.used or self.used + _up(size) <= self.size

    def take(self, name: str, tensor: Tensor, size: int) -> None:
        """Begin to copy a tensor of `size` bytes; one of 0 is kept as it is."""
        if not size:
            self.items.append((name, tensor if tensor.numel() else tensor.cpu()))
            return
        if self.pinned is None or self.used + size > len(self.pinned):
            # of one tensor that is larger than a bucket, or the first
            self.pinned = torch.empty(
                max(self.size, _up(size)), dtype=torch.uint8, pin_memory=tensor.is_cuda
            )
        place = self.pinned[self.used : self.used + size].view(tensor.dtype).view(tensor.shape)
        self.items.append((name, place.copy_(tensor.detach(), non_blocking=True)))
        self.used += _up(size)
        if tensor.is_cuda:
            self.arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.arrived.record()

    def emptied(self) -> Iterator[tuple[str, Tensor]]:
        """What was taken, in memory of its own; room for more."""
        if self.arrived is not None:
            self.arrived.synchronize()
        items, self.items, self.used, self.arrived = self.items, [], 0, None
        for name, tensor in items:
            is_ours = self.pinned is not None and (
                tensor.untyped_storage().data_ptr() == self.pinned.untyped_storage().data_ptr()
            )
            yield name, tensor.clone() if is_ours else tensor


def _up(size: int) -> int:
    """To a multiple that any type may begin at."""
    return -(-size // 64) * 64
