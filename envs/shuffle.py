"""A shuffle that never exists: where does place `index` of a shuffled deck of `size` cards go?"""

from __future__ import annotations

from hashlib import blake2b

_ROUNDS = 6


def shuffled(index: int, size: int, key: str) -> int:
    """A permutation of `range(size)`, one entry at a time, in constant memory.

    A Feistel network over the smallest even number of bits that holds `size`, walked until it
    lands inside (fewer than four steps on average). The same key gives the same permutation, on
    every machine and Python.

    Args:
        index: in [0, size).
        size: any positive integer, beyond machine words too.
        key: whatever the shuffle shall depend on.
    """
    assert 0 <= index < size
    half = (max(size - 1, 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (_digest(f"{key}/{turn}/{right}") & mask)
        index = left << half | right
        if index < size:
            return index


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=64).digest())
