"""The value of a tree: exact fractions as long as possible, then as many digits as are asked for.

Everything is bounded (`TooHard`), so that this may run outside of a killable child: exact numbers
have at most MAX_BITS bits, powers and exponentials a bounded exponent, sums a bounded length.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from munro.rewards.math.tree import Node

MAX_BITS = 1 << 16
MAX_EXPONENT = 1_000_000
MAX_TERMS = 60
MAX_FACTORIAL = 3_000
MAX_STEPS = 20_000
"""Nodes that one pass may evaluate: sums within sums multiply."""

Value = Any
"""A Fraction, a number of mpmath, or a matrix of these as a tuple of tuples."""


class TooHard(Exception):
    """The value is beyond the bounds kept here; nothing is said about it."""


class Undefined(Exception):
    """There is no value here: a division by nothing, a factorial of a fraction."""


class NoNumber(Exception):
    """The tree is a set, an interval, an equation: it has no value."""


_local = threading.local()


def context(digits: int) -> Any:
    """This thread's arithmetic of mpmath, set to `digits` decimal digits."""
    if not hasattr(_local, "context"):
        from mpmath.ctx_mp import MPContext  # type: ignore[import-untyped]

        _local.context = MPContext()
    _local.context.dps = digits
    return _local.context


class Evaluation:
    """One pass over a tree at one point.

    Example:
        Evaluation(50, {"x": Fraction(3, 7)}).value(tree)
    """

    def __init__(
        self, digits: int, point: Mapping[str, Fraction], letter: Callable[[str], Fraction]
    ):
        """Args:
        digits: decimal digits of what is not exact.
        point: values of the letters that sums bind.
        letter: the value of any other letter, unit or unknown function.
        """
        self.mp = context(digits)
        self.point = dict(point)
        self.letter = letter
        self.span = 0
        """Decimal digits of the longest exact number met: what a rounding must not swallow."""
        self.has_i = False
        self.steps = 0

    def value(self, node: Node) -> Value:
        """The value of a tree.

        Raises:
            TooHard, Undefined, NoNumber: see there.
        """
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise TooHard("too many steps")
        rule = RULES.get(node.op)
        if rule is None:
            raise NoNumber(node.op)
        return rule(self, node)

    def exact(self, value: Fraction) -> Fraction:
        bits = max(value.numerator.bit_length(), value.denominator.bit_length())
        if bits > MAX_BITS:
            raise TooHard("too many digits")
        self.span = max(self.span, int(bits * 0.302))
        return value

    def real(self, value: Value) -> Any:
        """A number of mpmath."""
        if isinstance(value, Fraction):
            return self.mp.mpf(value.numerator) / value.denominator
        if isinstance(value, tuple):
            raise NoNumber("a matrix")
        return value

    def whole(self, value: Value) -> int:
        if isinstance(value, Fraction) and value.denominator == 1:
            return value.numerator
        raise Undefined("not a whole number")


def _add(left: Value, right: Value, run: Evaluation) -> Value:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return run.exact(left + right)
    if isinstance(left, tuple) or isinstance(right, tuple):
        if not (isinstance(left, tuple) and isinstance(right, tuple)) or _shape(left) != _shape(
            right
        ):
            raise Undefined("matrices of different shapes")
        return tuple(
            tuple(_add(a, b, run) for a, b in zip(row, other, strict=True))
            for row, other in zip(left, right, strict=True)
        )
    return run.real(left) + run.real(right)


def _shape(matrix: tuple[tuple[Value, ...], ...]) -> tuple[int, int]:
    return len(matrix), len(matrix[0])


def _multiply(left: Value, right: Value, run: Evaluation) -> Value:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return run.exact(left * right)
    if isinstance(left, tuple) and isinstance(right, tuple):
        if _shape(left)[1] != _shape(right)[0] or len(left) > 6:
            raise Undefined("matrices that cannot be multiplied")
        return tuple(
            tuple(_sum([_multiply(a, b, run) for a, b in zip(row, column, strict=True)], run)
                  for column in zip(*right, strict=True))
            for row in left
        )  # fmt: skip
    if isinstance(left, tuple):
        left, right = right, left
    if isinstance(right, tuple):
        return tuple(tuple(_multiply(left, each, run) for each in row) for row in right)
    return run.real(left) * run.real(right)


def _sum(values: list[Value], run: Evaluation) -> Value:
    total = values[0]
    for each in values[1:]:
        total = _add(total, each, run)
    return total


def _divide(left: Value, right: Value, run: Evaluation) -> Value:
    if isinstance(right, tuple):
        raise NoNumber("a matrix below a line")
    if right == 0:
        raise Undefined("division by zero")
    if isinstance(right, Fraction):
        return _multiply(left, 1 / right, run)
    return _multiply(left, 1 / right, run)


def _power(base: Value, exponent: Value, run: Evaluation) -> Value:
    if isinstance(base, tuple):
        raise NoNumber("a power of a matrix")
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        n = exponent.numerator
        if isinstance(base, Fraction):
            if base == 0 and n < 0:
                raise Undefined("division by zero")
            if abs(base) in (0, 1):
                return base ** (n % 2 if base == -1 else (1 if n else 0))
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if bits * abs(n) > MAX_BITS:
                raise TooHard("a large power")
            return run.exact(base**n)
        if abs(n) > 10_000:
            raise TooHard("a large power")
        _check_growth(base, n, run)
        return run.real(base) ** n
    if base == 0:
        if run.real(exponent).real > 0:
            return Fraction(0)
        raise Undefined("a power of zero")
    _check_growth(run.real(base), run.real(exponent), run)
    return run.mp.power(run.real(base), run.real(exponent))


def _check_growth(base: Any, exponent: Any, run: Evaluation) -> None:
    if base == 0:
        return
    growth = abs(run.mp.log(abs(base))) * abs(exponent)
    if growth > MAX_EXPONENT:
        raise TooHard("a large power")


def _root(run: Evaluation, node: Node) -> Value:
    base, index = run.value(node.args[0]), run.value(node.args[1])
    if isinstance(base, Fraction) and isinstance(index, Fraction) and index in (2, 3, 4, 5):
        n = int(index)
        sign = -1 if base < 0 and n % 2 else 1
        over, under = _whole_root(abs(base.numerator), n), _whole_root(base.denominator, n)
        if over is not None and under is not None and (base >= 0 or sign < 0):
            return Fraction(sign * over, under)
    if index == 0:
        raise Undefined("a zeroth root")
    odd = isinstance(index, Fraction) and index.denominator == 1 and index.numerator % 2
    number = run.real(base)
    if odd and run.mp.im(number) == 0 and number.real < 0:
        return -_power(-number.real, 1 / index, run)
    if index == 2:
        return run.mp.sqrt(number)
    return _power(number, _divide(Fraction(1), index, run), run)


def _whole_root(number: int, index: int) -> int | None:
    if number < 0 or number.bit_length() > 4096:
        return None
    if index == 2:
        root = math.isqrt(number)
    else:
        root = round(number ** (1 / index)) if number < 2**52 else 0
    return root if root**index == number else None


def _function(run: Evaluation, node: Node) -> Value:
    name, arguments = node.value, [run.value(each) for each in node.args]
    if name in ("max", "min", "gcd"):
        if not all(isinstance(each, Fraction) for each in arguments):
            raise TooHard(name)
        if name == "gcd":
            return Fraction(math.gcd(*map(run.whole, arguments)))
        return max(arguments) if name == "max" else min(arguments)
    x = run.real(arguments[0])
    if abs(x) > 10**9 and name not in ("ln", "log", "lg", "arctan"):
        raise TooHard("a large argument")
    if name in ("ln", "log", "lg"):
        if x == 0:
            raise Undefined("the logarithm of zero")
        if name == "log" and len(arguments) > 1:
            base = run.real(arguments[1])
            if base in (0, 1):
                raise Undefined("no base of a logarithm")
            return run.mp.log(x) / run.mp.log(base)
        return run.mp.log(x) / run.mp.log(10) if name == "lg" else run.mp.log(x)
    if name in ("exp", "sinh", "cosh", "tanh", "coth") and abs(x) > MAX_EXPONENT:
        raise TooHard("a large exponent")
    if x == 0 and name in ("cot", "csc", "coth", "arccot"):
        raise Undefined("no value at zero")
    function = getattr(run.mp, MPMATH.get(name, name), None)
    if function is None or (len(arguments) > 1):
        raise TooHard(name)
    return function(x)


MPMATH = {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsinh": "asinh",
    "arccosh": "acosh", "arctanh": "atanh", "arcsec": "asec", "arccsc": "acsc",
}  # fmt: skip


def _series(run: Evaluation, node: Node) -> Value:
    variable, low, high, body = node.args
    start, stop = run.whole(run.value(low)), run.value(high)
    if not isinstance(stop, Fraction):
        raise TooHard("an endless sum")
    end = run.whole(stop)
    name = "i" if variable.op == "i" else variable.value
    if variable.op not in ("sym", "i") or end - start >= MAX_TERMS:
        raise TooHard("a long sum")
    before = run.point.get(name)
    values: list[Value] = []
    for k in range(start, end + 1):
        run.point[name] = Fraction(k)
        values.append(run.value(body))
    run.point.pop(name, None)
    if before is not None:
        run.point[name] = before
    if node.op == "sum":
        return _sum([Fraction(0), *values], run)
    total: Value = Fraction(1)
    for each in values:
        total = _multiply(total, each, run)
    return total


def _factorial(run: Evaluation, node: Node) -> Value:
    n = run.whole(run.value(node.args[0]))
    if n < 0:
        raise Undefined("a factorial of a negative number")
    if n > MAX_FACTORIAL:
        raise TooHard("a large factorial")
    return run.exact(Fraction(math.factorial(n)))


def _binomial(run: Evaluation, node: Node) -> Value:
    n, k = (run.whole(run.value(each)) for each in node.args)
    if n < 0 or k < 0:
        raise Undefined("a binomial of negative numbers")
    if min(k, abs(n - k)) > MAX_FACTORIAL or n > 10**6:
        raise TooHard("a large binomial")
    return run.exact(Fraction(math.comb(n, k)))


def _letter(run: Evaluation, node: Node) -> Value:
    bound = run.point.get(node.value)
    return bound if bound is not None else run.letter(node.value)


def _imaginary(run: Evaluation, _: Node) -> Value:
    if "i" in run.point:
        return run.point["i"]
    run.has_i = True
    return run.mp.mpc(0, 1)


def _call(run: Evaluation, node: Node) -> Value:
    given = [run.value(each) for each in node.args]
    named = ",".join(
        str(each) if isinstance(each, Fraction) else run.mp.nstr(run.real(each), 25)
        for each in given
    )
    return run.letter(f"{node.value}({named})")


def _unit(run: Evaluation, node: Node) -> Value:
    over, _, under = str(node.value).partition("/")
    value = Fraction(1)
    for part, is_over in ((over, True), (under, False)):
        for factor in filter(None, part.split("*")):
            name, _, power = factor.partition("^")
            if power and not power.lstrip("-").isdigit():
                raise TooHard("no power of a unit")
            each = run.letter(f"unit {name}") ** max(-9, min(9, int(power or 1)))
            value = value * each if is_over else value / each
    return run.exact(value)


def _rows(run: Evaluation, node: Node) -> Value:
    return tuple(tuple(run.value(each) for each in row.args) for row in node.args)


def _determinant(run: Evaluation, node: Node) -> Value:
    rows = run.value(node.args[0])
    height, width = _shape(rows)
    if height != width or height > 5:
        raise Undefined("no square matrix")
    return _laplace(rows, run)


def _laplace(rows: tuple[tuple[Value, ...], ...], run: Evaluation) -> Value:
    if len(rows) == 1:
        return rows[0][0]
    terms: list[Value] = []
    for column, head in enumerate(rows[0]):
        minor = tuple(row[:column] + row[column + 1 :] for row in rows[1:])
        term = _multiply(head, _laplace(minor, run), run)
        terms.append(_multiply(Fraction((-1) ** column), term, run))
    return _sum(terms, run)


def _absolute(run: Evaluation, node: Node) -> Value:
    value = run.value(node.args[0])
    if isinstance(value, tuple):
        raise NoNumber("a norm")
    return abs(value)


def _floor(run: Evaluation, node: Node) -> Value:
    value = run.value(node.args[0])
    if not isinstance(value, Fraction):
        raise TooHard("a floor")
    return Fraction(math.floor(value) if node.op == "floor" else math.ceil(value))


def _ratio(run: Evaluation, node: Node) -> Value:
    if len(node.args) != 2:
        raise NoNumber("a ratio of three")
    return _divide(run.value(node.args[0]), run.value(node.args[1]), run)


RULES: dict[str, Callable[[Evaluation, Node], Value]] = {
    "num": lambda run, node: run.exact(node.value.value),
    "sym": _letter,
    "pi": lambda run, _: +run.mp.pi,
    "e": lambda run, _: +run.mp.e,
    "i": _imaginary,
    "unit": _unit,
    "call": _call,
    "group": lambda run, node: run.value(node.args[0]),
    "add": lambda run, node: _sum([run.value(each) for each in node.args], run),
    "neg": lambda run, node: _multiply(Fraction(-1), run.value(node.args[0]), run),
    "mul": lambda run, node: _multiply(run.value(node.args[0]), run.value(node.args[1]), run),
    "div": lambda run, node: _divide(run.value(node.args[0]), run.value(node.args[1]), run),
    "pow": lambda run, node: _power(run.value(node.args[0]), run.value(node.args[1]), run),
    "root": _root,
    "fn": _function,
    "fact": _factorial,
    "binom": _binomial,
    "abs": _absolute,
    "floor": _floor,
    "ceil": _floor,
    "pct": lambda run, node: _multiply(Fraction(1, 100), run.value(node.args[0]), run),
    "deg": lambda run, node: _multiply(run.mp.pi / 180, run.value(node.args[0]), run),
    "sum": _series,
    "prod": _series,
    "mat": _rows,
    "det": _determinant,
    "ratio": _ratio,
}
