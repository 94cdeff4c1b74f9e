"""Any order of any number of things, without a table: a permutation as a pure function.

A keyed Feistel network permutes the next even power of two; what falls outside the wanted range is
sent through again until it falls inside (cycle walking), which keeps it a permutation. So the
millionth document of the fifth epoch is found without a table of the epoch.
"""

from __future__ import annotations

ROUNDS = 6
MASK = (1 << 64) - 1


def shuffled(position: int, length: int, key: int) -> int:
    """Where `position` lands in the order that `key` gives to 0 .. length - 1.

    Raises:
        ValueError: `position` is not in that range.
    """
    if not 0 <= position < length:
        raise ValueError(f"position {position} is not in 0 .. {length - 1}")
    half_bits = max(1, ((length - 1).bit_length() + 1) // 2)
    while True:
        position = _feistel(position, half_bits, key)
        if position < length:
            return position


def mixed(number: int) -> int:
    """A 64-bit hash of an integer (the finaliser of SplitMix64)."""
    number = (number + 0x9E3779B97F4A7C15) & MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


def _feistel(position: int, half_bits: int, key: int) -> int:
    low_mask = (1 << half_bits) - 1
    left, right = position >> half_bits, position & low_mask
    for turn in range(ROUNDS):
        left, right = right, left ^ (mixed(key ^ mixed(right * ROUNDS + turn)) & low_mask)
    return left << half_bits | right
