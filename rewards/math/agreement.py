"""Do two trees of `munro.rewards.math.grammar` say the same? True, False, or None: not known here.

Numbers and formulas are compared by their values: exactly where all is rational, else at so many
digits that nothing written can be lost in rounding. Formulas with letters are compared at eight
points that depend on the reference; two formulas that agree there to 24 digits and more are one.
Letters stand for numbers of any kind, so `x` and `|x|` differ; where one side has no real value
(`\\sqrt{x}` below zero) a point says nothing. Lists, sets, intervals, tuples, equations and
inequalities are compared part by part. `False` is said only of what has no second reading.
"""

from __future__ import annotations

from collections.abc import Sequence

from munro.rewards.math.numbers import NoNumber, TooHard, Undefined, context
from munro.rewards.math.rules import RULES, UNDECIDED
from munro.rewards.math.shapes import (
    common_logarithms,
    exact,
    expanded,
    has_calls,
    letters,
    split_unit,
    ungrouped,
    without_calls,
)
from munro.rewards.math.tree import Node, Number, Tree
from munro.rewards.math.values import DIGITS, Values, is_rounding, number, plain

PLACES_OF_A_ROUNDING = 6
ENDLESS = 12
"""Most items of a list that are matched in any order."""


class Comparison(Values):
    """Compares answers with one reference, whose values are computed once.

    Example:
        Comparison(parse("2x"), "2x").agrees(parse("x+x"))      # True
    """

    def __init__(self, gold: Tree, text: str) -> None:
        """Args:
        gold: the reference.
        text: what the reference says, from which the points are drawn.
        """
        self.gold = expanded(exact(gold.node))
        self._is_ambiguous = gold.is_ambiguous
        super().__init__(text)

    def agrees(self, answer: Tree) -> bool | None:
        """Whether an answer says what the reference says; None where that is not known."""
        node = expanded(exact(answer.node))
        try:
            verdict = self.same(self.gold, node)
            if verdict and self.contradicts_itself(answer):
                return False
            if verdict is not False:
                return verdict
            if self._is_ambiguous or answer.is_ambiguous:
                return None
            if not has_calls(self.gold) and not has_calls(node):
                return False
            return (
                False if self.same(without_calls(self.gold), without_calls(node)) is False else None
            )
        except (TooHard, ArithmeticError, ValueError, RecursionError):
            return None

    def contradicts_itself(self, tree: Tree) -> bool:
        """Whether a chain such as `2 \\cdot 3 = 5` says that two different values are one."""
        return self._is_false(tree.node) and self._is_false(common_logarithms(tree.node))

    def _is_false(self, node: Node) -> bool:
        if node.op in ("list", "set"):
            return any(map(self._is_false, node.args))
        if node.op != "rel" or not set(node.value) <= {"=", "~"}:
            return False
        pairs = zip(node.args, node.args[1:], node.value, strict=False)
        first = 1 if letters(node.args[0]) else 0
        return any(self._differ(a, b) for a, b, _ in list(pairs)[first:])

    def _differ(self, left: Node, right: Node) -> bool:
        if letters(left) != letters(right):
            return False
        rounded = plain(right)
        if rounded is not None and rounded.places and not letters(left):
            try:
                value = self.constant(left)
            except (NoNumber, Undefined):
                return False
            if isinstance(value, tuple):
                return False
            mp = context(DIGITS[1])
            sign = -1 if right.op == "neg" else 1
            gap = abs(number(value, mp) - sign * number(rounded.value, mp))
            return bool(gap > mp.mpf(10) ** -rounded.places)
        return self.same(left, right) is False

    # --- by shape

    def same(self, gold: Node, answer: Node) -> bool | None:
        gold, answer = ungrouped(gold), ungrouped(answer)
        for rule in RULES:
            verdict: bool | None = rule(self, gold, answer)
            if verdict is not UNDECIDED:
                return verdict
        return self._leaves(gold, answer)

    def all_same(self, golds: Sequence[Node], answers: Sequence[Node]) -> bool | None:
        """Pair by pair, in order."""
        if len(golds) != len(answers):
            return False
        verdicts = [self.same(a, b) for a, b in zip(golds, answers, strict=True)]
        if False in verdicts:
            return False
        return None if None in verdicts else True

    def any_order(self, golds: Sequence[Node], answers: Sequence[Node]) -> bool | None:
        """Each of the one list with another one of the other."""
        if len(golds) != len(answers):
            return False
        if len(golds) > ENDLESS:
            return self.all_same(golds, answers) or None
        rest, is_unsure = list(answers), False
        for each in golds:
            verdicts = [self.same(each, other) for other in rest]
            if True in verdicts:
                rest.pop(verdicts.index(True))
            elif None in verdicts:
                is_unsure = True
            else:
                return False
        return None if is_unsure else True

    # --- by value

    def _leaves(self, gold: Node, answer: Node) -> bool | None:
        gold_core, gold_unit = split_unit(gold)
        core, unit = split_unit(answer)
        if gold_core is None or core is None:
            return self.equal(gold, answer)
        if gold_unit is not None and unit is not None:
            return (
                self._alike(gold_core, core)
                if self.equal(gold_unit, unit)
                else (self.equal(gold, answer))
            )
        return self._alike(gold_core, core)

    def _alike(self, gold: Node, answer: Node) -> bool | None:
        """Equal, or one the rounding of the other, or one of them a percentage or an angle."""
        verdict = self.equal(gold, answer)
        if verdict is not False:
            return verdict
        if self._rounds(gold, answer) or self._rounds(answer, gold):
            return True
        for op in ("pct", "deg"):
            if (gold.op == op) != (answer.op == op):
                bare = [each.args[0] if each.op == op else each for each in (gold, answer)]
                if self.equal(*bare):
                    return True
        return False

    def _rounds(self, written: Node, exact: Node) -> bool:
        """Whether `written` is `exact` to at least six places, as many as it shows."""
        sign = -1 if written.op == "neg" else 1
        bare = written.args[0] if written.op == "neg" else written
        if bare.op != "num" or not isinstance(bare.value, Number) or letters(exact):
            return False
        places = bare.value.places or 0
        if places < PLACES_OF_A_ROUNDING:
            return False
        other = plain(exact)
        if other is not None and other.places is not None and other.places <= places:
            return False
        try:
            value = self.constant(exact)
        except (Undefined, NoNumber):
            return False
        return is_rounding(sign * bare.value.value, places, value)
