"""The tree of an answer, as `munro.rewards.math.grammar` reads it. Values; nothing evaluates."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple


class Node(NamedTuple):
    """One part of an answer.

    Example:
        Node("div", (Node("num", (), Number(Fraction(1), None)), Node("sym", (), "x")))    # 1/x
    """

    op: str
    args: tuple[Node, ...] = ()
    value: Any = None


class Number(NamedTuple):
    """A numeral: its exact value and, where a decimal point is written, its decimal places."""

    value: Fraction
    places: int | None


class Tree(NamedTuple):
    """What was read, and whether another reading of the same text would be as good."""

    node: Node
    is_ambiguous: bool


def numeral(text: str) -> Number:
    """Digits, with or without a decimal point and commas between thousands."""
    whole, point, decimals = text.replace(",", "").partition(".")
    value = Fraction(int((whole + decimals) or 0), 10 ** len(decimals))
    return Number(value, len(decimals) if point else None)


def repeating(head: str, cycle: str) -> Number:
    """`0.1` and the digits that repeat behind it for ever."""
    places = len(head.partition(".")[2])
    tail = Fraction(int(cycle), 10**places * (10 ** len(cycle) - 1))
    return Number(numeral(head).value + tail, None)
