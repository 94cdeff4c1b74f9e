"""Rules for what is more than a formula: each gives a verdict on two trees, or UNDECIDED.

A verdict is True, False, or None where one cannot know here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Protocol

from munro.rewards.math.reals import are_equal
from munro.rewards.math.shapes import Shape, as_reals, assignment, is_polynomial, letters, ungrouped
from munro.rewards.math.tree import Node, Number


class Compare(Protocol):
    """What rules ask of `munro.rewards.math.agreement.Comparison`."""

    def same(self, gold: Node, answer: Node) -> bool | None: ...
    def all_same(self, golds: Sequence[Node], answers: Sequence[Node]) -> bool | None: ...
    def any_order(self, golds: Sequence[Node], answers: Sequence[Node]) -> bool | None: ...
    def equal(self, gold: Node, answer: Node) -> bool | None: ...
    def ratio(self, gold: Node, answer: Node) -> int: ...
    def constant(self, node: Node) -> Any: ...


UNDECIDED = object()
REGIONS = ("rel", "cup", "cap", "minus", "universe", "builder")


def _based(_: Compare, gold: Node, answer: Node) -> Any:
    """Numerals with a base: the digits must agree, and the bases where both are written."""
    if "based" not in (gold.op, answer.op):
        return UNDECIDED
    if gold.op == answer.op:
        return gold.value == answer.value
    based, other = (gold, answer) if gold.op == "based" else (answer, gold)
    if other.op != "num":
        return False if not letters(other) else None
    return other.value == Number(Fraction(int(based.value[0])), None)


def _dots(compare: Compare, gold: Node, answer: Node) -> Any:
    """Lists that go on: in order, and the same dots at the same place; else one cannot know."""
    mine, others = Shape.items_of(gold), Shape.items_of(answer)
    if not any(each.op == "dots" for each in (*mine, *others)):
        return UNDECIDED
    if [each.op == "dots" for each in mine] != [each.op == "dots" for each in others]:
        return None
    pairs = [(a, b) for a, b in zip(mine, others, strict=True) if a.op != "dots"]
    return compare.all_same([a for a, _ in pairs], [b for _, b in pairs]) or None


def _equations(compare: Compare, gold: Node, answer: Node) -> Any:
    is_gold, is_answer = Shape.is_equation(gold), Shape.is_equation(answer)
    if is_gold and is_answer:
        return _two_equations(compare, gold, answer)
    if is_answer and gold.op != "rel":
        named = gold.op != "list" or not any(each.op == "rel" for each in gold.args)
        return compare.same(gold, answer.args[-1]) if named else UNDECIDED
    if is_gold and answer.op != "rel":
        left = ungrouped(gold.args[0])
        if assignment(gold) is None and left.op not in ("call", "tuple", "ratio", "div", "mul"):
            return None
        verdict = compare.same(gold.args[-1], answer)
        is_name = assignment(gold) is not None or left.op in ("call", "tuple", "ratio")
        return verdict if is_name or verdict is True else None
    return UNDECIDED


def _two_equations(compare: Compare, gold: Node, answer: Node) -> bool | None:
    mine, other = assignment(gold), assignment(answer)
    if mine is not None and other is not None and mine[0] == other[0]:
        return compare.same(mine[1], other[1])
    if len(gold.args) == len(answer.args) and compare.all_same(gold.args, answer.args):
        return True
    if (verdict := _same_left(compare, gold, answer, mine, other)) is not None:
        return verdict
    if len(gold.args) > 2 or len(answer.args) > 2:
        ends = [Node("rel", (each.args[0], each.args[-1]), ("=",)) for each in (gold, answer)]
        return _two_equations(compare, *ends) or None
    left, right = (_difference(each) for each in (gold, answer))
    if not letters(left) and not letters(right):
        return compare.all_same(gold.args, answer.args)
    if letters(left) == letters(right) and compare.ratio(left, right):
        return True
    return False if is_polynomial(left) and is_polynomial(right) else None


def _same_left(
    compare: Compare,
    gold: Node,
    answer: Node,
    mine: tuple[str, Node] | None,
    other: tuple[str, Node] | None,
) -> bool | None:
    """What can be said of two equations by what they are equations for: `f(t)`, `P(X=4)`, `y_2`."""
    left, others = ungrouped(gold.args[0]), ungrouped(answer.args[0])
    if left == others:
        verdict = compare.same(gold.args[-1], answer.args[-1])
        free = letters(left) - letters(gold.args[-1]) - letters(answer.args[-1])
        return verdict if verdict or free else None
    if left.op == others.op == "call" and left.value == others.value:
        return False
    if mine is not None and other is not None:
        return None if letters(gold) == letters(answer) else False
    return None


def _difference(equation: Node) -> Node:
    return Node("add", (equation.args[0], Node("neg", (equation.args[1],))))


def _reals(compare: Compare, gold: Node, answer: Node) -> Any:
    """Intervals, unions, inequalities in one letter: as sets of real numbers."""
    if not (Shape.is_region(gold) or Shape.is_region(answer)):
        return UNDECIDED
    if gold.op == answer.op == "rel" and not letters(gold) & letters(answer):
        return False
    points = gold.op in ("list", "tuple", "set") and answer.op in ("list", "tuple", "set")
    if points and not (Shape.is_interval(gold) and Shape.is_interval(answer)):
        return UNDECIDED
    mine, other = as_reals(gold, compare.constant), as_reals(answer, compare.constant)
    if mine is not None and other is not None:
        return are_equal(mine, other)
    return _unsolved(compare, gold, answer)


def _unsolved(compare: Compare, gold: Node, answer: Node) -> Any:
    if gold.op == answer.op == "tuple":
        return UNDECIDED
    if gold.op == answer.op in ("cup", "cap", "minus", "universe"):
        same = gold.value == answer.value
        return (compare.all_same(gold.args, answer.args) if same else False) or None
    if gold.op == answer.op == "rel":
        if gold.value == answer.value:
            verdict = compare.all_same(gold.args, answer.args)
            if verdict:
                return True
        return _inequality(compare, gold, answer)
    if "builder" in (gold.op, answer.op) or (gold.op == answer.op == "list"):
        return UNDECIDED
    return None


def _inequality(compare: Compare, gold: Node, answer: Node) -> bool | None:
    flipped = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}
    if len(gold.args) != 2 or len(answer.args) != 2:
        return None
    op, other = gold.value[0], answer.value[0]
    if op not in flipped or other not in flipped:
        return None
    factor = compare.ratio(_difference(gold), _difference(answer))
    if not factor:
        return None
    return True if op == (other if factor > 0 or op == "!=" else flipped[other]) else None


def _several(compare: Compare, gold: Node, answer: Node) -> Any:
    """Lists, sets and tuples; beside one without names, `x=2, y=3` is the tuple of its values."""
    kinds = ("list", "set", "tuple")
    if gold.op not in kinds and answer.op not in kinds:
        return UNDECIDED
    if gold.op not in kinds or answer.op not in kinds:
        return _one_and_many(compare, gold, answer)
    if gold.op == answer.op == "tuple":
        if Shape.is_vector(gold) != Shape.is_vector(answer) and gold.value != answer.value:
            return None
        return (
            compare.all_same(gold.args, answer.args)
            if gold.value == answer.value
            else (compare.all_same(gold.args, answer.args) and None)
        )
    mine, others = Shape.named(gold), Shape.named(answer)
    if mine is not None and others is not None and set(mine) == set(others):
        return compare.all_same([mine[n] for n in sorted(mine)], [others[n] for n in sorted(mine)])
    if (mine is None) != (others is None) or mine is not None:
        if mine is not None and others is not None:
            return False
        named, plain = (mine, answer) if mine is not None else (others, gold)
        return (
            compare.all_same(list((named or {}).values()), plain.args)
            if plain is answer
            else (compare.all_same(plain.args, list((named or {}).values())))
        )
    if "tuple" in (gold.op, answer.op) or "by" in (*(gold.value or ()), *(answer.value or ())):
        return compare.all_same(Shape.bare(gold), Shape.bare(answer))
    golds, answers = Shape.bare(gold), Shape.bare(answer)
    once = tuple(dict.fromkeys(golds))
    if gold.op == "set" or len(once) == len(golds):  # else what is written twice counts twice
        golds, answers = once, tuple(dict.fromkeys(answers))
    return compare.any_order(golds, answers)


def _one_and_many(compare: Compare, gold: Node, answer: Node) -> Any:
    many, one = (gold, answer) if gold.op in ("list", "set", "tuple") else (answer, gold)
    if many.op != "list" and len(many.args) == 1:
        return compare.same(*((many.args[0], one) if many is gold else (one, many.args[0])))
    if one.op in ("cases", "builder"):
        return UNDECIDED
    if one.op in ("mat", "universe") or (one.op == "rel" and not Shape.is_equation(one)):
        return None
    if many.op != "list":
        return False
    is_plain = all(Shape.is_equation(each) or each.op not in REGIONS for each in many.args)
    return False if is_plain else None


def _builders(compare: Compare, gold: Node, answer: Node) -> Any:
    """Sets by a condition: the same condition for the same letter, or one can tell no more."""
    if "builder" not in (gold.op, answer.op):
        return UNDECIDED
    if gold.op != answer.op:
        other = answer if gold.op == "builder" else gold
        return False if other.op not in ("rel", "list", "cup", "cap", "minus", "tuple") else None
    if ungrouped(gold.args[0]) != ungrouped(answer.args[0]):
        return None
    return compare.any_order(Shape.items_of(gold.args[1]), Shape.items_of(answer.args[1])) or None


def _cases(compare: Compare, gold: Node, answer: Node) -> Any:
    """A system of equations is the list of them; a function by cases is compared case by case."""
    if "cases" not in (gold.op, answer.op):
        return UNDECIDED
    systems = [Shape.system(each) if each.op == "cases" else each for each in (gold, answer)]
    if None not in systems:
        mine, other = systems
        return compare.same(mine, other) if mine is not None and other is not None else None
    if gold.op != answer.op or len(gold.args) != len(answer.args):
        return None
    golds = [Node("tuple", row.args, ("(", ")")) for row in gold.args]
    answers = [Node("tuple", row.args, ("(", ")")) for row in answer.args]
    return compare.any_order(golds, answers)


def _ratios(compare: Compare, gold: Node, answer: Node) -> Any:
    if gold.op == answer.op == "ratio" and len(gold.args) == len(answer.args) > 2:
        pairs = [
            compare.equal(
                Node("mul", (gold.args[0], answer.args[k])),
                Node("mul", (gold.args[k], answer.args[0])),
            )
            for k in range(1, len(gold.args))
        ]
        return False if False in pairs else (None if None in pairs else True)
    return UNDECIDED


RULES: tuple[Callable[[Compare, Node, Node], Any], ...] = (
    _based,
    _dots,
    _equations,
    _reals,
    _several,
    _builders,
    _cases,
    _ratios,
)
