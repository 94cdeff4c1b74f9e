"""Conditions and values of a world's tools: a small language of our own, never Python.

    loan.extended < 2 and not loan.member.blocked
    product.stock - quantity
    loan.due + days                      a day and a number of days
    order.state == 'open'

Names are what the one who evaluates knows; a dot follows a field, and a reference to its row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from munro.envs.worlds.errors import BadWorld, Refused

Value = int | str | bool
Path = tuple[str, ...]
Lookup = Callable[[Path], Value]

LONGEST = 400
"""Letters of an expression."""
DEEPEST = 20
"""Brackets within brackets."""
LARGEST = 10**12
"""A number beyond it is refused: effects may add up from call to call."""

TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,12})|(?P<text>'[^']*')|(?P<name>[a-z_][a-z_0-9]*(?:\.[a-z_][a-z_0-9]*)*)"
    r"|(?P<mark>==|!=|<=|>=|[<>+*()-]))"
)
DAY = re.compile(r"\d{4}-\d\d-\d\d")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, a text, or true and false."""

    value: Value


@dataclass(frozen=True, slots=True)
class Name:
    """What somebody knows by this name."""

    path: Path


@dataclass(frozen=True, slots=True)
class Operation:
    """Of one ("not") or two operands."""

    sign: str
    operands: tuple[Expression, ...]


Expression = Constant | Name | Operation


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """The expression that a text is.

    Raises:
        BadWorld: it is none.
    """
    if len(text) > LONGEST:
        raise BadWorld(f"the expression {text[:40]!r}... is longer than {LONGEST} letters")
    reader = _Reader(text)
    found = reader.either(0)
    if reader.token:
        raise BadWorld(f"the expression {text!r} goes on with {reader.token!r}, which is too much")
    return found


def names(expression: Expression) -> Iterator[Path]:
    """The names in it, from left to right."""
    match expression:
        case Name(path):
            yield path
        case Operation(_, operands):
            for operand in operands:
                yield from names(operand)


def evaluate(expression: Expression, lookup: Lookup) -> Value:
    """Its value.

    Args:
        expression: out of `parse`.
        lookup: what a name stands for.

    Raises:
        Refused: the values do not go together, or the number would be too large.
    """
    match expression:
        case Constant(value):
            return value
        case Name(path):
            return lookup(path)
    sign, operands = expression.sign, expression.operands
    if sign in ("and", "or"):
        first = _truth(evaluate(operands[0], lookup))
        return first if first == (sign == "or") else _truth(evaluate(operands[1], lookup))
    values = [evaluate(operand, lookup) for operand in operands]
    if sign == "not":
        return not _truth(values[0])
    if sign in COMPARISONS:
        return _compared(sign, *values)
    return _computed(sign, *values)


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"{value!r} is neither true nor false")
    return value


def _compared(sign: str, left: Value, right: Value) -> bool:
    if sign in ("==", "!="):
        same = type(left) is type(right) and left == right
        return same == (sign == "==")
    if isinstance(left, bool) or type(left) is not type(right):
        raise Refused(f"{left!r} and {right!r} cannot be compared")
    less, equal = left < right, left == right  # type: ignore[operator]
    return {"<": less, "<=": less or equal, ">": not (less or equal), ">=": not less}[sign]


def _computed(sign: str, left: Value, right: Value) -> Value:
    if isinstance(right, bool) or not isinstance(right, int) or isinstance(left, bool):
        raise Refused(f"{left!r} {sign} {right!r} is no sum")
    if isinstance(left, str):
        if not DAY.fullmatch(left) or sign == "*":
            raise Refused(f"{left!r} {sign} {right!r} is no day")
        try:
            moved = date.fromisoformat(left) + timedelta(right if sign == "+" else -right)
        except (OverflowError, ValueError) as error:
            raise Refused(f"{left} {sign} {right} days is no day of the calendar") from error
        return moved.isoformat()
    total = {"+": left + right, "-": left - right, "*": left * right}[sign]
    if abs(total) > LARGEST:
        raise Refused("the number is too large")
    return total


class _Reader:
    """Reads from left to right; a method a level of binding."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._depth = 0
        self.token, self._kind = "", ""
        self._next()

    def either(self, depth: int) -> Expression:
        if depth > DEEPEST:
            raise BadWorld(f"the expression {self._text!r} is nested too deep")
        found = self._both(depth)
        while self.token == "or":
            self._next()
            found = Operation("or", (found, self._both(depth)))
        return found

    def _both(self, depth: int) -> Expression:
        found = self._not(depth)
        while self.token == "and":
            self._next()
            found = Operation("and", (found, self._not(depth)))
        return found

    def _not(self, depth: int) -> Expression:
        turned = False
        while self.token == "not":
            self._next()
            turned = not turned
        found = self._comparison(depth)
        return Operation("not", (found,)) if turned else found

    def _comparison(self, depth: int) -> Expression:
        left = self._sum(depth)
        if self.token not in COMPARISONS:
            return left
        sign = self._next()
        return Operation(sign, (left, self._sum(depth)))

    def _sum(self, depth: int) -> Expression:
        found = self._product(depth)
        while self.token in ("+", "-"):
            sign = self._next()
            found = Operation(sign, (found, self._product(depth)))
        return found

    def _product(self, depth: int) -> Expression:
        found = self._atom(depth)
        while self.token == "*":
            self._next()
            found = Operation("*", (found, self._atom(depth)))
        return found

    def _atom(self, depth: int) -> Expression:
        kind, token = self._kind, self._next()
        if kind == "number":
            return Constant(int(token))
        if kind == "text":
            return Constant(token[1:-1])
        if token in ("true", "false"):
            return Constant(token == "true")
        if kind == "name" and token not in ("and", "or", "not"):
            return Name(tuple(token.split(".")))
        if token == "(":
            found = self.either(depth + 1)
            if self._next() != ")":
                raise BadWorld(f"a bracket of the expression {self._text!r} is not closed")
            return found
        what = repr(token) if token else "its end"
        raise BadWorld(f"the expression {self._text!r} cannot be read at {what}")

    def _next(self) -> str:
        """The token at hand; the one after it is at hand then."""
        was = self.token
        rest = self._text[self._at :]
        if not rest.strip():
            self.token, self._kind, self._at = "", "", len(self._text)
            return was
        match = TOKEN.match(self._text, self._at)
        if match is None:
            raise BadWorld(f"the expression {self._text!r} cannot be read at {rest.strip()[0]!r}")
        self._kind = match.lastgroup or ""
        self.token, self._at = match[self._kind], match.end()
        return was
