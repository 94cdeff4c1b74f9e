"""Boxes of tensors as one message of bytes, with a checksum of each box behind them.

piece, piece, ... (each to a multiple of 8 bytes) | sum, xor of each piece's 64-bit words
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from munro.rollout.transfer.types import Box, Move

WORD = 8
"""Bytes that are added up together."""
NEAR = 1 << 16
"""Words that are read twice while a processor still has them at hand."""


class Corrupt(Exception):
    """What arrived is not what was sent; names the tensor."""

    is_sentence = True


class Buffers:
    """Memory for one message after another: to get a new block costs more than to fill it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._free: list[Tensor] = []

    def take(self, size: int) -> Tensor:
        """That many bytes; what they hold is anything. It goes with its last user, or to `give`."""
        for at, block in enumerate(self._free):
            if len(block) >= size:
                return self._free.pop(at)[:size]
        return torch.empty(size, dtype=torch.uint8, device=self._device)

    def give(self, buffer: Tensor) -> None:
        """Nobody reads or writes it any more."""
        block = torch.empty(0, dtype=torch.uint8, device=self._device)
        self._free.append(block.set_(buffer.untyped_storage()))  # all of it, which may be longer


def message_bytes(moves: Sequence[Move]) -> int:
    """Length of the message that carries them."""
    return sum(_padded(move.bytes) + 2 * WORD for move in moves)


def pack(moves: Sequence[Move], part: Callable[[str, Box], Tensor], buffers: Buffers) -> Tensor:
    """The message, as bytes in one of the buffers.

    Args:
        moves: in the order in which they are packed.
        part: a tensor's box, of any precision and strides, wherever it lies.
        buffers: where the message is sent from.
    """
    message = buffers.take(message_bytes(moves))
    words, at = [], 0
    for move in moves:
        ends = at + _padded(move.bytes)
        message[at + move.bytes : ends] = 0
        typed(message[at : at + move.bytes], move).copy_(part(move.name, move.box))
        words.append(checksum(message[at:ends]))
        at = ends
    if words:
        message[at:].view(torch.int64).copy_(torch.cat(words))
    return message


def unpack(moves: Sequence[Move], message: Tensor) -> Iterator[tuple[Move, Tensor]]:
    """Each move with its tensor, which lies in the message.

    Raises:
        Corrupt: a piece is not what its checksum says.
    """
    told = message[len(message) - 2 * WORD * len(moves) :].view(torch.int64).view(-1, 2)
    at = 0
    for move, words in zip(moves, told, strict=True):
        ends = at + _padded(move.bytes)
        if not torch.equal(checksum(message[at:ends]), words):
            raise Corrupt(
                f"{move.name} arrived from rank {move.source} other than it was sent: its checksum "
                "is not the sender's"
            )
        yield move, typed(message[at : at + move.bytes], move)
        at = ends


def checksum(padded: Tensor) -> Tensor:
    """(2,) int64: sum, modulo 2^64, and exclusive or of the 64-bit words of these bytes."""
    words = padded.view(torch.int64)
    if words.device.type == "cpu":
        return torch.from_numpy(_read_once(words.numpy()))
    return _folded(words)


def _folded(words: Tensor) -> Tensor:
    total = words.sum()
    while len(words) > 1:
        half = len(words) // 2
        folded = words[:half] ^ words[half : 2 * half]
        if len(words) % 2:
            folded[0] ^= words[-1]
        words = folded
    last = words[0] if len(words) else total
    return torch.stack([total, last])


def _read_once(words: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.zeros(2, np.int64)
    for at in range(0, len(words), NEAR):
        near = words[at : at + NEAR]
        found[:1] += np.add.reduce(near)
        found[1:] ^= np.bitwise_xor.reduce(near)
    return found


def typed(raw: Tensor, move: Move) -> Tensor:
    """Bytes as the tensor that they are."""
    dtype: torch.dtype = getattr(torch, move.dtype)
    assert raw.numel() == prod(move.box.shape) * dtype.itemsize
    return raw.view(dtype).view(move.box.shape)


def _padded(number: int) -> int:
    return -(-number // WORD) * WORD
