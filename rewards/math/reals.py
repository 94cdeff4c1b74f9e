"""Sets of real numbers as sorted pieces: `[0, 1)` and `{3}`, and the three operations on them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cmp_to_key
from typing import Any, NamedTuple

from munro.rewards.math.numbers import context

End = Any
"""A Fraction, a real number of mpmath, or an infinite float."""
NEAR = 30
"""Decimal digits to which two ends that are not both exact must agree to be one."""
EVERYTHING_BELOW, EVERYTHING_ABOVE = float("-inf"), float("inf")


class Piece(NamedTuple):
    """An interval, or a point where both ends are one. Infinite ends are open."""

    low: End
    has_low: bool
    high: End
    has_high: bool


def order(left: End, right: End) -> int:
    """Negative, zero or positive, as `left` is below, at or above `right`."""
    if left is right:
        return 0
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return (left > right) - (left < right)
    if isinstance(left, float) or isinstance(right, float):
        a = left if isinstance(left, float) else 0.0
        b = right if isinstance(right, float) else 0.0
        return (a > b) - (a < b)
    mp = context(60)
    a, b = (
        mp.mpf(each.numerator) / each.denominator if isinstance(each, Fraction) else each
        for each in (left, right)
    )
    if abs(a - b) <= max(abs(a), abs(b)) * mp.mpf(10) ** -NEAR:
        return 0
    return 1 if a > b else -1


def union(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """The same set, sorted, overlapping and touching pieces joined, empty ones left out."""
    merged: list[Piece] = []
    real = [each for each in pieces if _is_there(each)]
    for piece in sorted(real, key=cmp_to_key(_by_low)):
        last = merged[-1] if merged else None
        if last is None or not _touch(last, piece):
            merged.append(piece)
            continue
        side = order(piece.high, last.high)
        high, has_high = (piece.high, piece.has_high) if side > 0 else (last.high, last.has_high)
        if side == 0:
            has_high = piece.has_high or last.has_high
        merged[-1] = Piece(last.low, last.has_low, high, has_high)
    return tuple(merged)


def _is_there(piece: Piece) -> bool:
    side = order(piece.low, piece.high)
    return side < 0 or (side == 0 and piece.has_low and piece.has_high)


def _by_low(left: Piece, right: Piece) -> int:
    return order(left.low, right.low) or (right.has_low - left.has_low)


def _touch(left: Piece, right: Piece) -> bool:
    side = order(left.high, right.low)
    return side > 0 or (side == 0 and (left.has_high or right.has_low))


def complement(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """All real numbers that are not in a set."""
    rest: list[Piece] = []
    low, has_low = EVERYTHING_BELOW, False
    for piece in union(pieces):
        rest.append(Piece(low, has_low, piece.low, not piece.has_low))
        low, has_low = piece.high, not piece.has_high
    rest.append(Piece(low, has_low and low != EVERYTHING_ABOVE, EVERYTHING_ABOVE, False))
    return union([each._replace(has_high=each.has_high and each.high != EVERYTHING_ABOVE,
                                has_low=each.has_low and each.low != EVERYTHING_BELOW)
                  for each in rest])  # fmt: skip


def intersection(left: Sequence[Piece], right: Sequence[Piece]) -> tuple[Piece, ...]:
    """What is in both."""
    return complement([*complement(left), *complement(right)])


def are_equal(left: Sequence[Piece], right: Sequence[Piece]) -> bool:
    """Whether two sets, as `union` gives them, are one."""
    return len(left) == len(right) and all(
        (a.has_low, a.has_high) == (b.has_low, b.has_high)
        and order(a.low, b.low) == 0
        and order(a.high, b.high) == 0
        for a, b in zip(left, right, strict=True)
    )
