"""What a tree is: an interval, an equation, a list of assignments; and simpler trees for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from munro.rewards.math.numbers import NoNumber, TooHard, Undefined
from munro.rewards.math.reals import (
    EVERYTHING_ABOVE,
    EVERYTHING_BELOW,
    Piece,
    complement,
    intersection,
    union,
)
from munro.rewards.math.tree import Node, Number

Constant = Callable[[Node], Any]
"""Gives the value of a formula without letters."""


@lru_cache(maxsize=4096)
def letters(node: Node) -> frozenset[str]:
    """The letters a tree depends on, unknown functions and units included."""
    if node.op == "sym":
        return frozenset((node.value,))
    inside = frozenset().union(*(letters(each) for each in node.args))
    if node.op in ("sum", "prod"):
        return inside - letters(node.args[0])
    if node.op == "call":
        return inside | {f"{node.value}()"}
    if node.op == "unit":
        return frozenset((f"unit {node.value}",))
    return inside


def ungrouped(node: Node) -> Node:
    """Without the brackets around all of it."""
    while node.op == "group":
        node = node.args[0]
    return node


def expanded(node: Node) -> Node:
    """Every `\\pm` written out: `3 \\pm 1` is the list `3+1, 3-1`."""
    if not _has_sign(node):
        return node
    if node.op in ("list", "set", "tuple"):
        items: list[Node] = []
        for each in node.args:
            items.extend(_both(each) if _has_sign(each) else (each,))
        return Node(node.op, tuple(items), None if node.op == "list" else node.value)
    if node.op == "rel" and node.value == ("=",) and not _has_sign(node.args[0]):
        return Node("list", tuple(Node("rel", (node.args[0], each), ("=",))
                                  for each in _both(node.args[1])))  # fmt: skip
    return Node("list", tuple(_both(node)))


def _has_sign(node: Node) -> bool:
    return node.op == "pm" or any(_has_sign(each) for each in node.args)


def _both(node: Node) -> tuple[Node, Node]:
    return _signed(node, 1), _signed(node, -1)


def _signed(node: Node, sign: int) -> Node:
    if node.op == "pm":
        inside = _signed(node.args[0], sign)
        return inside if node.value * sign > 0 else Node("neg", (inside,))
    return Node(node.op, tuple(_signed(each, sign) for each in node.args), node.value)


def exact(node: Node) -> Node:
    """Without what stands behind "is about": of `x = 1/3 \\approx 0.33`, the equation."""
    if node.op in ("list", "set"):
        return Node(node.op, tuple(map(exact, node.args)), node.value)
    if node.op != "rel" or "~" not in node.value:
        return node
    about = node.value.index("~")
    if about == 0 and len(node.args) == 2 and ungrouped(node.args[0]).op in ("sym", "call"):
        return Node("rel", node.args, ("=",))
    if about == 0:
        return node.args[0]
    return Node("rel", node.args[: about + 1], node.value[:about])


def common_logarithms(node: Node) -> Node:
    """The other reading of `\\log` without a base: to the base of ten."""
    inside = tuple(map(common_logarithms, node.args))
    is_log = node.op == "fn" and node.value == "log" and len(inside) == 1
    return Node(node.op, inside, "lg" if is_log else node.value)


def has_calls(node: Node) -> bool:
    """Whether a letter before a bracket was read as a function."""
    return node.op == "call" or any(map(has_calls, node.args))


def without_calls(node: Node) -> Node:
    """The other reading of `h(x+2)`: a product."""
    inside = tuple(map(without_calls, node.args))
    if node.op == "call" and len(inside) == 1:
        return Node("mul", (Node("sym", (), node.value), inside[0]))
    return Node(node.op, inside, node.value)


def is_polynomial(node: Node) -> bool:
    """Sums and products of numbers and letters alone: as equations, equal only up to a factor."""
    if node.op == "div":
        return is_polynomial(node.args[0]) and not letters(node.args[1])
    if node.op == "pow":
        base, exponent = node.args
        return is_polynomial(base) and exponent.op == "num" and exponent.value.places is None
    if node.op in ("num", "sym", "pi", "e"):
        return True
    if node.op == "root":
        return not letters(node)
    return node.op in ("add", "mul", "neg", "group") and all(map(is_polynomial, node.args))


def split_unit(node: Node) -> tuple[Node | None, Node | None]:
    """A quantity as its number and its unit; no number where units stand within."""
    core, unit = _split(node)
    if core is not None and _has_unit(core):
        return None, None
    return core, unit


def _split(node: Node) -> tuple[Node | None, Node | None]:
    node = ungrouped(node)
    if _is_unit(node):
        return None, node
    if node.op in ("mul", "div") and _is_unit(node.args[1]):
        core, unit = _split(node.args[0])
        one = Node("num", (), Number(Fraction(1), None))
        both = (
            node.args[1]
            if unit is None and node.op == "mul"
            else (Node(node.op, (unit or one, node.args[1])))
        )
        return core, both
    if node.op == "mul" and _is_unit(node.args[0]):
        return node.args[1], node.args[0]
    if node.op == "neg":
        core, unit = _split(node.args[0])
        return (Node("neg", (core,)) if core is not None else None), unit
    return node, None


def _is_unit(node: Node) -> bool:
    node = ungrouped(node)
    if node.op in ("mul", "div"):
        return all(_is_unit(each) for each in node.args)
    if node.op == "pow":
        return _is_unit(node.args[0])
    return node.op == "unit"


def _has_unit(node: Node) -> bool:
    return node.op == "unit" or any(_has_unit(each) for each in node.args)


def assignment(node: Node) -> tuple[str, Node] | None:
    """The name and the value of `x = 5`; of a chain `x = 2+3 = 5`, the last value."""
    if node.op != "rel" or set(node.value) != {"="}:
        return None
    left = ungrouped(node.args[0])
    value = node.args[-1]
    if left.op == "sym" and left.value not in letters(value):
        return left.value, value
    if left.op == "call":
        inside = [each.value for each in left.args if each.op == "sym"]
        if len(inside) == len(left.args) and f"{left.value}()" not in letters(value):
            return f"{left.value}({','.join(inside)})", value
    return None


class Shape:
    """Questions about a tree."""

    @staticmethod
    def items_of(node: Node) -> tuple[Node, ...]:
        """What a list, set or tuple holds; anything else holds itself."""
        return node.args if node.op in ("list", "set", "tuple") else (node,)

    @staticmethod
    def is_equation(node: Node) -> bool:
        return node.op == "rel" and set(node.value) == {"="}

    @staticmethod
    def is_interval(node: Node) -> bool:
        return node.op == "tuple" and len(node.args) == 2 and node.value[0] in ("(", "[")

    @staticmethod
    def is_vector(node: Node) -> bool:
        return node.op == "tuple" and node.value == (r"\langle", r"\rangle")

    @staticmethod
    def is_region(node: Node) -> bool:
        """Whether a tree can be a set of real numbers other than a few points."""
        if node.op == "rel":
            return set(node.value) != {"="}
        if node.op == "list":
            return any(Shape.is_region(each) for each in node.args)
        if node.op in ("cup", "cap", "minus", "universe", "builder"):
            return True
        return Shape.is_interval(node) and (
            node.value != ("(", ")") or any("inf" in _ops(each) for each in node.args)
        )

    @staticmethod
    def named(node: Node) -> dict[str, Node] | None:
        """The values by name of `x=2, y=3`, each name once; None for anything else."""
        if node.op not in ("list", "set") or not node.args:
            return None
        pairs = [assignment(each) for each in node.args]
        if None in pairs:
            return None
        values = {pair[0]: pair[1] for pair in pairs if pair is not None}
        return values if len(values) == len(pairs) else None

    @staticmethod
    def bare(node: Node) -> tuple[Node, ...]:
        """The items of a list whose items all are values of one letter, without the letter."""
        pairs = [assignment(each) for each in node.args]
        names = {pair[0] for pair in pairs if pair is not None}
        is_first = pairs and pairs[0] is not None and pairs[1:].count(None) == len(pairs) - 1
        if node.op == "list" and len(names) == 1 and (None not in pairs or is_first):
            return tuple(
                each if pair is None else pair[1]
                for each, pair in zip(node.args, pairs, strict=True)
            )
        return node.args

    @staticmethod
    def system(node: Node) -> Node | None:
        """The equations of a `cases`, as a list; None for a function by cases."""
        if any(len(row.args) != 1 or row.args[0].op != "rel" for row in node.args):
            return None
        return Node("list", tuple(row.args[0] for row in node.args))


@lru_cache(maxsize=1024)
def _ops(node: Node) -> frozenset[str]:
    return frozenset((node.op,)).union(*(_ops(each) for each in node.args))


def as_reals(node: Node, constant: Constant) -> tuple[Piece, ...] | None:
    """A tree as a set of real numbers; None where its ends are no plain numbers."""
    try:
        return _reals(ungrouped(node), constant)
    except (NoNumber, TooHard, Undefined):
        return None


def _reals(node: Node, constant: Constant) -> tuple[Piece, ...]:
    if node.op == "universe" and node.value == "R":
        return (Piece(EVERYTHING_BELOW, False, EVERYTHING_ABOVE, False),)
    if node.op in ("cup", "cap", "minus"):
        left, right = (_reals(ungrouped(each), constant) for each in node.args)
        if node.op == "cup":
            return union([*left, *right])
        return intersection(left, right if node.op == "cap" else complement(right))
    if node.op == "set":
        return union([_point(each, constant) for each in node.args])
    if Shape.is_interval(node):
        low, high = (_end(each, constant) for each in node.args)
        has_low = node.value[0] == "[" and abs(low) != EVERYTHING_ABOVE
        has_high = node.value[1] == "]" and abs(high) != EVERYTHING_ABOVE
        return union([Piece(low, has_low, high, has_high)])
    if node.op == "builder":
        name = ungrouped(node.args[0])
        if name.op == "rel" and name.value == ("in",):
            name = ungrouped(name.args[0])
        conditions = node.args[1]
        if name.op != "sym" or letters(conditions) - {name.value}:
            raise NoNumber("a condition for more than one letter")
        return _reals(conditions, constant)
    if node.op == "rel":
        return _region(node, constant)
    if node.op == "list" and all(Shape.is_region(each) for each in node.args):
        return _listed(node, constant)
    raise NoNumber(node.op)


def _listed(node: Node, constant: Constant) -> tuple[Piece, ...]:
    """`x > 1 and x < 3` is both; `x < 1 or x > 3` either."""
    parts = [_reals(each, constant) for each in node.args]
    if all(each.op == "rel" for each in node.args):
        names = {name for each in node.args for name in letters(each)}
        if len(names) != 1:
            raise NoNumber("two letters")
        if set(node.value or ()) <= {"and"}:
            both = parts[0]
            for each in parts[1:]:
                both = intersection(both, each)
            return both
    if "and" in (node.value or ()):
        raise NoNumber("and")
    if set(node.value or ()) <= {",", ";"} and _is_meet(parts):
        raise NoNumber("a comma between two sets that meet")
    return union([piece for each in parts for piece in each])


def _is_meet(parts: Sequence[tuple[Piece, ...]]) -> bool:
    return len(parts) == 2 and bool(intersection(parts[0], parts[1]))


def _region(node: Node, constant: Constant) -> tuple[Piece, ...]:
    """`0 <= x < 1`, `x != 0`, `x in [0, 1)`; one letter, standing alone."""
    sides = [ungrouped(each) for each in node.args]
    names = [k for k, each in enumerate(sides) if _is_name(each)]
    if len(names) != 1 or len(sides) > 3:
        raise NoNumber("not one letter between numbers")
    at = names[0]
    inside: tuple[Piece, ...] = (Piece(EVERYTHING_BELOW, False, EVERYTHING_ABOVE, False),)
    for k, op in enumerate(node.value):
        if at not in (k, k + 1):
            raise NoNumber("a relation of two numbers")
        other = sides[k + 1] if at == k else sides[k]
        inside = intersection(inside, _half(op, other, constant, is_left=at == k))
    return inside


def _is_name(node: Node) -> bool:
    return node.op == "sym" or (node.op == "call" and all(each.op == "sym" for each in node.args))


def _half(op: str, other: Node, constant: Constant, *, is_left: bool) -> tuple[Piece, ...]:
    if op in ("in", "notin") and is_left:
        found = _reals(other, constant)
        return found if op == "in" else complement(found)
    if op == "!=":
        return complement([_point(other, constant)])
    if op == "=":
        return (_point(other, constant),)
    if op not in ("<", ">", "<=", ">="):
        raise NoNumber(op)
    end, has_end = _end(other, constant), op.endswith("=")
    if (op[0] == "<") == is_left:
        return union([Piece(EVERYTHING_BELOW, False, end, has_end)])
    return union([Piece(end, has_end, EVERYTHING_ABOVE, False)])


def _point(node: Node, constant: Constant) -> Piece:
    end = _end(node, constant)
    return Piece(end, True, end, True)


def _end(node: Node, constant: Constant) -> Any:
    node = ungrouped(node)
    if node.op == "inf":
        return EVERYTHING_ABOVE
    if node.op == "neg" and ungrouped(node.args[0]).op == "inf":
        return EVERYTHING_BELOW
    if node.op == "add" and len(node.args) == 1:
        return _end(node.args[0], constant)
    if letters(node):
        raise NoNumber("a letter at the end of an interval")
    value = constant(node)
    if isinstance(value, tuple) or (not isinstance(value, Fraction) and value.imag != 0):
        raise NoNumber("no real number")
    return value
