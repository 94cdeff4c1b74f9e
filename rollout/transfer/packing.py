"""Boxes of tensors as one message of bytes, with a checksum of each box behind them.

piece, piece, ... (each to a multiple of 8 bytes) | sum, xor of each piece's 64-bit words
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from munro.rollout.transfer.types import Box, Move

WORD = 8
"""Bytes that are added up together."""


class Corrupt(Exception):
    """What arrived is not what was sent; names the tensor."""

    is_sentence = True


def message_bytes(moves: Sequence[Move]) -> int:
    """Length of the message that carries them."""
    return sum(_padded(move.bytes) + 2 * WORD for move in moves)


def pack(moves: Sequence[Move], part: Callable[[str, Box], Tensor], device: torch.device) -> Tensor:
    """The message, as bytes on `device`.

    Args:
        moves: in the order in which they are packed.
        part: a tensor's box, of any precision and strides, wherever it lies.
        device: that the message is sent from.
    """
    message = torch.empty(message_bytes(moves), dtype=torch.uint8, device=device)
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
    total = words.sum()
    while len(words) > 1:
        half = len(words) // 2
        folded = words[:half] ^ words[half : 2 * half]
        if len(words) % 2:
            folded[0] ^= words[-1]
        words = folded
    last = words[0] if len(words) else total
    return torch.stack([total, last])


def typed(raw: Tensor, move: Move) -> Tensor:
    """Bytes as the tensor that they are."""
    dtype: torch.dtype = getattr(torch, move.dtype)
    assert raw.numel() == prod(move.box.shape) * dtype.itemsize
    return raw.view(dtype).view(move.box.shape)


def _padded(number: int) -> int:
    return -(-number // WORD) * WORD
