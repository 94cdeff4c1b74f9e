"""A second opinion on "equal": Math-Verify's yes counts only where this finds nothing against it.

Math-Verify compares at a fixed absolute precision, takes two empty lists of solutions for equal,
and more of that kind; each rewards what is wrong. Here formulas are evaluated at random points to
forty digits, relative to their size, equations must be multiples of each other or have the same
solutions (and some), and sets must be the same set. Runs in the killable child, as does the rest
of SymPy.
"""

from __future__ import annotations

import random
from typing import Any

from latex2sympy2_extended.sets import FiniteSet as LatexSet
from math_verify import grader
from sympy import (
    And,
    Basic,
    Eq,
    FiniteSet,
    Float,
    Interval,
    MatrixBase,
    Rational,
    Set,
    Symbol,
    Tuple,
    solve,
)
from sympy.core.relational import Relational

DIGITS = 60
NEAR = Rational(1, 10**30)
POINTS = 6
ENOUGH_POINTS = 2


def confirms(gold: Any, answer: Any) -> bool | None:
    """True: the two are the same. False: they are not. None: no proof either way."""
    try:
        return _same(gold, answer)
    except (ArithmeticError, AttributeError, NotImplementedError, TypeError, ValueError):
        return None


def _same(gold: Any, answer: Any) -> bool | None:
    if isinstance(gold, str) or isinstance(answer, str):
        return isinstance(gold, str) and isinstance(answer, str) and gold.strip() == answer.strip()
    if not (_is_consistent(gold) and _is_consistent(answer)):
        return None
    gold, answer = _one_sided(gold, answer)
    if _is_relation(gold) and _is_relation(answer):
        return _relations(gold, answer)
    if _is_relation(gold) and isinstance(answer, Set):
        gold = grader.unwrap_fcs(gold).as_set()
    if _is_relation(answer) and isinstance(gold, Set):
        answer = grader.unwrap_fcs(answer).as_set()
    if isinstance(gold, (Set, Tuple)) or isinstance(answer, (Set, Tuple)):
        return _sets(gold, answer)
    if isinstance(gold, MatrixBase) and isinstance(answer, MatrixBase):
        if gold.shape != answer.shape:
            return False
        return _all([_same(a, b) for a, b in zip(gold.flat(), answer.flat(), strict=True)])
    return _formulas(gold, answer)


def _is_consistent(each: Any) -> bool:
    """Whether the sides of a chain `x = 2+3 = 5`, of which only the last will count, agree."""
    if not isinstance(each, And) or not grader.is_equation(each):
        return True
    parts = list(getattr(each, "_unsorted_args", each.args))
    return all(_formulas(part.lhs, part.rhs) for part in parts[1:])


def _one_sided(gold: Any, answer: Any) -> tuple[Any, Any]:
    """As Math-Verify does it: where one is an equation and the other is not, its last side."""
    if grader.is_assignment_relation(gold):
        first, last = grader.take_first_relation(gold), grader.take_last_relation(gold)
        gold = Eq(first.lhs, last.rhs, evaluate=False)
    if grader.is_assignment_relation(answer):
        first, last = grader.take_first_relation(answer), grader.take_last_relation(answer)
        answer = Eq(first.lhs, last.rhs, evaluate=False)
    if grader.is_equation(answer) and not grader.is_equation(gold):
        return gold, grader.take_last_relation(answer).rhs
    if grader.is_assignment_relation(gold) and not grader.is_equation(answer):
        return grader.take_last_relation(gold).rhs, answer
    return gold, answer


def _is_relation(each: Any) -> bool:
    return isinstance(each, (Relational, And))


def _all(verdicts: list[bool | None]) -> bool | None:
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _formulas(gold: Any, answer: Any) -> bool | None:
    """At random points, with letters both above and below zero; where both are real, they agree."""
    if gold == answer:
        return True
    letters = sorted(gold.free_symbols | answer.free_symbols, key=str)
    rng = random.Random(len(str(gold)))
    hits = 0
    for turn in range(POINTS if letters else 1):
        point = {each: _drawn(rng, turn) for each in letters}
        a, b = _value(gold, point), _value(answer, point)
        if a is None or b is None or not (a.is_finite and b.is_finite):
            continue
        if letters and not (a.is_real and b.is_real) and not _has_i(gold, answer):
            continue
        if not _near(a, b, gold, answer, point):
            return False
        hits += 1
    return True if hits >= (ENOUGH_POINTS if letters else 1) else None


def _near(a: Any, b: Any, gold: Any, answer: Any, point: dict[Symbol, Any]) -> bool:
    gap, size = abs(a - b), max(abs(a), abs(b))
    if gap <= size * NEAR or (
        size < NEAR * NEAR and _vanishes(gold, point) and _vanishes(answer, point)
    ):
        return True
    floats = [bool(each.atoms(Float)) for each in (gold, answer)]
    if all(floats):
        return bool(gap <= size * Rational(1, 10**12))
    # beside what is exact, a decimal may be a rounding: to six places, one part in ten thousand
    return bool(any(floats) and gap <= Rational(1, 10**6) and gap * 10_000 <= size)


def _vanishes(formula: Any, point: dict[Symbol, Any]) -> bool:
    """Whether more digits leave nothing of a tiny value."""
    at = formula.subs(point).doit()
    few, many = at.evalf(DIGITS), at.evalf(3 * DIGITS)
    return bool(at.is_zero or many == 0 or abs(few - many) > abs(many) * NEAR)


def _has_i(*formulas: Any) -> bool:
    from sympy import I

    return any(each.has(I) for each in formulas)


def _drawn(rng: random.Random, turn: int) -> Any:
    value = Rational(rng.randint(101, 400), 101)
    if turn >= 4:
        return Rational(rng.randint(2, 12))
    return -value if turn >= 2 and rng.random() < 0.5 else value


def _value(formula: Any, point: dict[Symbol, Any]) -> Any:
    value = formula.subs(point) if point else formula
    value = value.doit() if hasattr(value, "doit") else value
    value = value.evalf(DIGITS)
    return value if value.is_number and value.is_comparable is not None else None


def _relations(gold: Any, answer: Any) -> bool | None:
    if gold == answer:
        return True
    if isinstance(gold, And) or isinstance(answer, And):
        if not (isinstance(gold, And) and isinstance(answer, And)):
            return None
        parts = [list(getattr(each, "_unsorted_args", each.args)) for each in (gold, answer)]
        if len(parts[0]) != len(parts[1]):
            return False
        return _all([_relations(a, b) for a, b in zip(*parts, strict=True)])
    if isinstance(gold, Eq) and isinstance(answer, Eq):
        return _equations(gold, answer)
    same_way = type(gold) is type(answer)
    flipped = grader.INVERSE_RELATIONS.get(type(gold)) is type(answer)
    left, right = gold.lhs - gold.rhs, answer.lhs - answer.rhs
    if same_way and _formulas(left, right):
        return True
    if flipped and _formulas(left, -right):
        return True
    if len(gold.free_symbols | answer.free_symbols) == 1:
        return _sets(grader.unwrap_fcs(gold).as_set(), grader.unwrap_fcs(answer).as_set())
    return None


def _equations(gold: Any, answer: Any) -> bool | None:
    if gold.lhs == answer.lhs and _formulas(gold.rhs, answer.rhs):
        return True
    left, right = gold.lhs - gold.rhs, answer.lhs - answer.rhs
    if left.free_symbols != right.free_symbols:
        return False
    if not left.free_symbols:  # both true or both false, whatever they say
        return _all([_formulas(gold.lhs, answer.lhs), _formulas(gold.rhs, answer.rhs)])
    if right != 0 and not (left / right).simplify().free_symbols:
        return True
    letter = min(left.free_symbols, key=str)
    solutions = [sorted(solve(each, letter), key=str) for each in (left, right)]
    if not solutions[0] or len(solutions[0]) != len(solutions[1]):
        return False
    return _matched(*solutions)


def _sets(gold: Any, answer: Any) -> bool | None:
    if gold == answer:
        return True
    many = (FiniteSet, LatexSet, Tuple)
    if isinstance(gold, Interval) and isinstance(answer, Interval):
        if (gold.left_open, gold.right_open) != (answer.left_open, answer.right_open):
            return False
        return _all([_same(gold.start, answer.start), _same(gold.end, answer.end)])
    gold, answer = _as_tuple(gold, answer), _as_tuple(answer, gold)
    if isinstance(gold, many) and isinstance(answer, many):
        mine = list(getattr(gold, "_unsorted_args", gold.args))
        others = list(getattr(answer, "_unsorted_args", answer.args))
        if len(gold.args) != len(answer.args):
            return False
        if isinstance(gold, Tuple) or isinstance(answer, Tuple):
            return _all([_same(a, b) for a, b in zip(mine, others, strict=True)])
        return _matched(list(gold.args), list(answer.args))
    if isinstance(gold, Set) and isinstance(answer, Set):
        return True if gold.symmetric_difference(answer).is_empty else None
    if isinstance(gold, many) and len(gold.args) == 1:
        return _same(gold.args[0], answer)
    if isinstance(answer, many) and len(answer.args) == 1:
        return _same(gold, answer.args[0])
    return None


def _as_tuple(each: Any, other: Any) -> Any:
    is_pair = isinstance(each, Interval) and each.is_open and isinstance(other, (Tuple, FiniteSet))
    return Tuple(each.start, each.end) if is_pair else each


def _matched(mine: list[Basic], others: list[Basic]) -> bool | None:
    """Each of the one with another one of the other."""
    rest = list(others)
    is_unsure = False
    for each in mine:
        verdicts = [_same(each, other) for other in rest]
        if True in verdicts:
            rest.pop(verdicts.index(True))
        elif None in verdicts:
            is_unsure = True
        else:
            return False
    return None if is_unsure else True
