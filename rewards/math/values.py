"""Are two formulas the same function? By their values, at points that depend on the reference."""

from __future__ import annotations

from fractions import Fraction
from hashlib import blake2b
from typing import Any

from munro.rewards.math.numbers import Evaluation, NoNumber, TooHard, Undefined, context
from munro.rewards.math.shapes import letters
from munro.rewards.math.tree import Node, Number

DIGITS = (40, 120, 500)
NUM_POINTS = 8
ENOUGH_POINTS = 3


class Values:
    """The values of formulas at a few points; those of the reference are computed once."""

    def __init__(self, text: str) -> None:
        """Args:
        text: what the reference says, from which the points are drawn.
        """
        self._salt = blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
        self._values: dict[tuple[int, int, int], tuple[Any, int, bool]] = {}
        self._letters: dict[tuple[str, int], Fraction] = {}
        self._kept: list[Node] = []

    def constant(self, node: Node) -> Any:
        """The value of a formula, to at least 100 digits where it is not exact.

        Raises:
            TooHard, Undefined, NoNumber: as `Evaluation.value`.
        """
        return self._value(node, 0, DIGITS[1])[0]

    def equal(self, gold: Node, answer: Node) -> bool | None:
        """Whether two formulas have the same values. None: a set among them, or too few points."""
        try:
            names = letters(gold) | letters(answer)
            if not names:
                return self._equal_at(gold, answer, 0, is_constant=True)
            verdicts = [
                self._equal_at(gold, answer, index, is_constant=False)
                for index in range(NUM_POINTS)
            ]
        except NoNumber:
            return None
        if False in verdicts:
            return False
        if verdicts.count(True) >= ENOUGH_POINTS:
            return True
        return None

    def _equal_at(self, gold: Node, answer: Node, index: int, *, is_constant: bool) -> bool | None:
        before: tuple[Any, Any] | None = None
        for digits in DIGITS:
            try:
                a, span, has_i = self._value(gold, index, digits)
                b, other_span, also_i = self._value(answer, index, digits)
            except Undefined:
                return None
            is_enough = digits >= 30 + 2 * max(span, other_span)
            if isinstance(a, tuple) or isinstance(b, tuple):
                if is_enough:
                    return _equal_matrices(a, b, digits)
                continue
            if isinstance(a, Fraction) and isinstance(b, Fraction):
                return a == b
            mp = context(digits)
            a, b = number(a, mp), number(b, mp)
            if not (mp.isfinite(a) and mp.isfinite(b)):
                return None
            is_real = mp.im(a) == 0 and mp.im(b) == 0
            if not (is_real or is_constant or has_i or also_i):
                return None
            size = max(abs(a), abs(b))
            if is_enough and size > mp.mpf(10) ** -(digits // 4):
                return bool(abs(a - b) <= size * mp.mpf(10) ** -(digits // 2))
            if is_enough and digits == DIGITS[-1] and before is not None:
                return _equal_small((a, b), before, mp)
            before = (a, b)
        raise TooHard("more digits than are computed")

    def _value(self, node: Node, index: int, digits: int) -> tuple[Any, int, bool]:
        key = (id(node), index, digits)
        if key not in self._values:
            run = Evaluation(digits, {}, lambda name: self._letter(name, index))
            self._values[key] = (run.value(node), run.span, run.has_i)
            self._kept.append(node)  # while it is kept, its id is nobody else's
        return self._values[key]

    def _letter(self, name: str, index: int) -> Fraction:
        """The value of a letter at a point: the same for the same reference, letter and point."""
        if (name, index) not in self._letters:
            text = f"{index} {name}".encode("utf-8", "replace")
            number = int.from_bytes(blake2b(text, digest_size=8, key=self._salt).digest())
            is_letter = "(" not in name and not name.startswith("unit ")
            self._letters[name, index] = _drawn(number, index if is_letter else 0)
        return self._letters[name, index]

    def ratio(self, gold: Node, answer: Node) -> int:
        """The sign of c where `gold` is c times `answer` at every point, c not zero; else 0."""
        factors: list[Any] = []
        for index in range(NUM_POINTS):
            try:
                a, _, _ = self._value(gold, index, DIGITS[1])
                b, _, _ = self._value(answer, index, DIGITS[1])
            except Undefined:
                continue
            except NoNumber:
                return 0
            if isinstance(a, tuple) or isinstance(b, tuple):
                return 0
            if a == 0 and b == 0:
                continue
            if a == 0 or b == 0:
                return 0
            mp = context(DIGITS[1])
            exact = isinstance(a, Fraction) and isinstance(b, Fraction)
            factors.append(a / b if exact else number(a, mp) / number(b, mp))
        if len(factors) < ENOUGH_POINTS:
            return 0
        mp = context(DIGITS[1])
        numbers = [number(each, mp) for each in factors]
        if any(abs(each - numbers[0]) > abs(numbers[0]) * mp.mpf(10) ** -60 for each in numbers):
            return 0
        if mp.im(numbers[0]) != 0:
            return 1
        return 1 if numbers[0] > 0 else -1


def is_rounding(written: Fraction, places: int, exact: Any) -> bool:
    """Whether `written`, with that many decimal places, is `exact` rounded to them."""
    mp = context(DIGITS[1])
    value, given = number(exact, mp), number(written, mp)
    if mp.im(value) != 0 or abs(given - value) > abs(value) / 10_000:
        return False
    return bool(abs(given - value) <= mp.mpf(10) ** -places * mp.mpf("0.5000001"))


def plain(node: Node) -> Number | None:
    bare = node.args[0] if node.op == "neg" else node
    return bare.value if bare.op == "num" else None


def _drawn(number: int, index: int) -> Fraction:
    value = Fraction(101 + number % 307, 101)
    if index in (2, 3):
        value = -value if number >> 20 & 1 else value + 3
    elif index == 4:
        value = Fraction(1 + number % 96, 101)
    elif index >= 5:
        value = Fraction(2 + (number + index) % 13)
    return value


def number(value: Any, mp: Any) -> Any:
    if isinstance(value, Fraction):
        return mp.mpf(value.numerator) / value.denominator
    return value


def _equal_matrices(a: Any, b: Any, digits: int) -> bool | None:
    if not (isinstance(a, tuple) and isinstance(b, tuple)):
        return None
    if len(a) != len(b) or len(a[0]) != len(b[0]):
        return None
    mp = context(digits)
    for row, other in zip(a, b, strict=True):
        for x, y in zip(row, other, strict=True):
            if isinstance(x, Fraction) and isinstance(y, Fraction):
                if x != y:
                    return False
                continue
            x, y = number(x, mp), number(y, mp)
            if mp.im(x) != 0 or mp.im(y) != 0:
                return None
            if abs(x - y) > max(abs(x), abs(y)) * mp.mpf(10) ** -(digits // 2):
                return False
    return True


def _equal_small(now: tuple[Any, Any], before: tuple[Any, Any], mp: Any) -> bool:
    """Tiny at the most digits: values that more digits left alone are compared, others are zero."""
    near = mp.mpf(10) ** -40
    stays = [x != 0 and abs(x - y) <= abs(x) * near for x, y in zip(now, before, strict=True)]
    if not any(stays):
        return True
    return all(stays) and bool(abs(now[0] - now[1]) <= max(map(abs, now)) * near)
