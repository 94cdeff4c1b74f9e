r"""A grammar of answers as people write them in LaTeX: text in, a tree out, nothing evaluated.

`\frac{1}{2}x^2, \quad [0, \pi)` becomes nodes. It knows numbers, letters, the usual functions,
sets, intervals, tuples, lists, equations, inequalities, matrices, cases, and words after a number
as units. What it does not know raises `Unreadable`, and the caller asks a larger grammar.
`munro.rewards.math.numbers` gives trees their values; `munro.rewards.math.agreement` compares them.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from munro.rewards.math.atoms import ATOMS
from munro.rewards.math.tokens import TEXT, Token, Unreadable, tokenize
from munro.rewards.math.tree import Node, Number, Tree, numeral, repeating
from munro.rewards.math.units import is_noun, is_unit, unit_name
from munro.rewards.math.vocabulary import (
    CALLED,
    CLOSING,
    CONSTANTS,
    DIVIDED,
    FUNCTIONS,
    OPENING,
    RELATIONS,
    SEPARATORS,
    TIMES,
)

MAX_NODES = 600


def parse(text: str) -> Tree:
    """Read one answer.

    Raises:
        Unreadable: it holds what this grammar does not know, or is larger than it takes.
    """
    reader = _Reader(tokenize(text))
    node = reader.items(top=True)
    reader.expect_end()
    return Tree(node, reader.is_ambiguous)


class _Reader:
    """A recursive descent over tokens; every method leaves `at` behind what it has read."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.nodes = 0
        self.is_ambiguous = False
        self.bars = 0

    # --- tokens

    @property
    def next(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    @property
    def is_text(self) -> bool:
        return self.at < len(self.tokens) and self.tokens[self.at].kind == TEXT

    def take(self) -> str:
        if self.at >= len(self.tokens):
            raise Unreadable("the text ends too early")
        self.at += 1
        return self.tokens[self.at - 1].text

    def skip(self, text: str) -> None:
        if self.next != text:
            raise Unreadable(f"{text!r} is missing before {self.next!r}")
        self.at += 1

    def expect_end(self) -> None:
        if self.at < len(self.tokens):
            raise Unreadable(f"{self.next!r} is not expected here")

    def node(self, op: str, *args: Node, value: Any = None) -> Node:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise Unreadable("too long")
        return Node(op, args, value)

    # --- lists, relations, sets

    def items(self, *, top: bool = False) -> Node:
        """`a, b and c`: one item by itself, or a list; between items of a list, the separators."""
        found, between = [self.relation()], []
        while True:
            kind = "and" if self._starts_compound(found) else self._separator()
            if not kind:
                break
            if not self.next or self.next in CLOSING:
                if not top or self.next:
                    raise Unreadable("nothing after a separator")
                break
            found.append(self.relation())
            between.append(kind)
        if not between:
            return found[0]
        if {",", ";"} <= set(between):
            found, between = self._grouped(found, between)
        return self.node("list", *found, value=tuple(between))

    def _grouped(self, found: list[Node], between: list[str]) -> tuple[list[Node], list[str]]:
        """`p=5, q=2; p=7, q=2` is a list of two lists."""
        groups, kinds = [[found[0]]], [[""]]
        for node, kind in zip(found[1:], between, strict=True):
            if kind == ";":
                groups.append([node])
                kinds.append([""])
            else:
                groups[-1].append(node)
                kinds[-1].append(kind)
        lists = [
            self.node("list", *group, value=tuple(kind[1:])) if len(group) > 1 else group[0]
            for group, kind in zip(groups, kinds, strict=True)
        ]
        return lists, [";"] * (len(lists) - 1)

    def _separator(self) -> str:
        found = ""
        while self.next in SEPARATORS and (not self.is_text or self.next in ("and", "or", "by")):
            word = self.take()
            if found in ("", ",") or word != ",":
                found = word
        return found

    def _starts_compound(self, found: list[Node]) -> bool:
        """`3 feet 4 inches`: a number right behind a unit begins another quantity."""
        before = self.tokens[self.at - 1] if self.at else None
        return (
            before is not None
            and (before.kind == TEXT and before.text not in SEPARATORS)
            and self.at < len(self.tokens)
            and self.tokens[self.at].kind == "number"
            and bool(found)
        )

    def relation(self) -> Node:
        sides, ops = [self.union()], []
        while self.next in RELATIONS and not self.is_text:
            ops.append(RELATIONS[self.take()])
            sides.append(self.union())
        if ops and sides[0].op in ("e", "i"):  # e = 1/2: an eccentricity
            sides[0] = self.node("sym", value=sides[0].op)
        return self.node("rel", *sides, value=tuple(ops)) if ops else sides[0]

    def union(self) -> Node:
        left = self.ratio()
        while self.next in (r"\cup", r"\cap", r"\setminus", r"\backslash"):
            op = {r"\cup": "cup", r"\cap": "cap"}.get(self.take(), "minus")
            left = self.node(op, left, self.ratio())
        return left

    def ratio(self) -> Node:
        parts = [self.sum()]
        while self.next == ":" and not self.is_text:
            self.take()
            parts.append(self.sum())
        return self.node("ratio", *parts) if len(parts) > 1 else parts[0]

    # --- arithmetic

    def sum(self) -> Node:
        terms = []
        while True:
            sign = ""
            while self.next in ("+", "-", r"\pm", r"\mp", "±"):
                token = self.take()
                if token in ("+", "-"):
                    sign = sign if token == "+" else ("" if sign == "-" else "-")
                else:
                    sign = r"\mp" if token == r"\mp" else r"\pm"
            term = self.product()
            if sign == "-":
                term = self.node("neg", term)
            elif sign:
                term = self.node("pm", term, value=1 if sign == r"\pm" else -1)
            terms.append(term)
            if self.next not in ("+", "-", r"\pm", r"\mp", "±"):
                break
        return self.node("add", *terms) if len(terms) > 1 else terms[0]

    def product(self) -> Node:
        left, divided = self.power(), False
        while True:
            token = self.next
            if token in TIMES and not self.is_text:
                self.take()
                left = self.node("mul", left, self._signed())
                divided = False
            elif token in DIVIDED and not self.is_text:
                self.take()
                left, divided = self.node("div", left, self._signed()), True
            elif self._begins_factor():
                if divided and not self.is_text:
                    self.is_ambiguous = True  # 1/2x
                if self.tokens[self.at].kind == "number" and self._after_number():
                    raise Unreadable("two numbers side by side")
                left = self.node("mul", left, self.power())
            else:
                return left

    def _after_number(self) -> bool:
        return self.at > 0 and self.tokens[self.at - 1].kind in ("number", TEXT)

    def _signed(self) -> Node:
        if self.next == "-":
            self.take()
            return self.node("neg", self.power())
        return self.power()

    def _begins_factor(self) -> bool:
        if self.at >= len(self.tokens):
            return False
        kind, text = self.tokens[self.at].kind, self.next
        if kind == TEXT:
            return text not in SEPARATORS
        if kind == "number":
            return not self._starts_compound([Node("num")])
        if text == "|":
            return not self.bars
        return kind in ("letter", "word") or text in ATOMS or text in OPENING or text == "{"

    def power(self) -> Node:
        base = self.postfix(self.atom())
        while self.next == "^":
            self.take()
            if self.next in (r"\circ", "°", "o"):
                self.take()
                base = self.postfix(self.node("deg", base))
                continue
            if self.next == "{" and self._peek(1) in (r"\circ", "°") and self._peek(2) == "}":
                self.at += 3
                base = self.postfix(self.node("deg", base))
                continue
            if self.next == "{" and self._peek(1) == "'" and base.op == "sym":  # x^{\prime}
                inside = self.subscript()
                base = self.node("sym", value=f"{base.value}{inside}")
                continue
            exponent = self.argument()
            if base.op == "unit" and "/" in base.value and exponent.op == "num":
                base = self.node("unit", value=f"{base.value}^{exponent.value.value}")  # m/s^2
            else:
                base = self.postfix(self.node("pow", base, exponent))
        return base

    def _peek(self, ahead: int) -> str:
        place = self.at + ahead
        return self.tokens[place].text if place < len(self.tokens) else ""

    def postfix(self, base: Node) -> Node:
        while True:
            if self.next == "!":
                self.take()
                base = self.node("fact", base)
            elif self.next in ("%", r"\%"):
                self.take()
                base = self.node("pct", base)
            elif self.next in ("°", r"\degree"):
                self.take()
                base = self.node("deg", base)
            else:
                return base

    def argument(self) -> Node:
        """What stands behind `^`, `_`, `\\frac` or `\\sqrt`: braces, or one token."""
        if self.next == "{":
            self.take()
            inside = self.sum()
            self.skip("}")
            return inside
        if self.next == "-":
            self.take()
            return self.node("neg", self.argument())
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        if token is not None and token.kind == "number" and len(token.text) > 1:
            # \frac12 and x^23: LaTeX takes one digit
            if not token.text.isdigit():
                raise Unreadable("a decimal without braces")
            self.tokens[self.at] = Token("number", token.text[1:])
            return self.node("num", value=numeral(token.text[0]))
        return self.atom()

    def atom(self) -> Node:
        if self.at >= len(self.tokens):
            raise Unreadable("the text ends too early")
        token = self.tokens[self.at]
        if token.kind == TEXT:
            name = unit_name(token.text)
            if token.text in SEPARATORS or not (is_noun(token.text) or is_unit(name)):
                raise Unreadable(f"words: {token.text!r}")
            self.take()
            return self.node("unit", value=name)
        if token.kind == "number":
            return self._numeral()
        if token.text in FUNCTIONS:
            return self.function()
        if token.text in ATOMS:
            return ATOMS[token.text](self)
        if token.text in OPENING:
            return self._bracket()
        if token.text == "{":
            self.take()
            inside = self.items()
            self.skip("}")
            return inside
        if token.kind == "letter":
            return self.letter(self.take())
        raise Unreadable(f"{token.text!r} is not known")

    def _numeral(self) -> Node:
        digits = self.take()
        if self.next == r"\overline" and "." in digits:
            self.take()
            return self.node("num", value=repeating(digits, self._braced_digits()))
        if self.next == "_":
            self.take()
            return self.node("based", value=(digits.replace(",", ""), self._base()))
        number = self.node("num", value=numeral(digits))
        if self.next == r"\frac" and digits.isdigit() and self._is_plain_fraction():
            return self.node("add", number, self.atom())
        return number

    def _base(self) -> int:
        inside = self._braced_digits()
        if not 2 <= int(inside) <= 36:
            raise Unreadable("no base of numerals")
        return int(inside)

    def _braced_digits(self) -> str:
        has_brace = self.next == "{"
        if has_brace:
            self.take()
        digits = self.take()
        if not digits.isdecimal() or len(digits) > 40:
            raise Unreadable("digits are expected")
        if has_brace:
            self.skip("}")
        return digits

    def _is_plain_fraction(self) -> bool:
        """Behind a whole number, a fraction of two whole numbers makes a mixed number."""
        texts = "".join(token.text for token in self.tokens[self.at : self.at + 7])
        return re.match(r"\\frac(?:\{\d+\}\{\d+\}|\d\d)", texts) is not None

    def letter(self, name: str) -> Node:
        if (
            name in CONSTANTS
            and self.next not in ("_", "'")
            and not (name == "i" and self.next == "(")
        ):
            return self.node(CONSTANTS[name])
        while self.next in ("'", r"\prime"):
            name += "'"
            self.take()
        if self.next == "_":
            self.take()
            name += f"_{self.subscript()}"
            while self.next == "'":
                name += self.take()
        if self.next == "(" and (name[0] in CALLED or name.partition("_")[0] in CALLED):
            inside = self._bracket()
            return self.node("call", *(inside.args if inside.op == "tuple" else (inside,)),
                             value=name)  # fmt: skip
        return self.node("sym", value=name)

    def subscript(self) -> str:
        if self.next != "{":
            return self.take()
        self.take()
        depth, parts = 1, []
        while depth:
            token = self.take()
            depth += (token == "{") - (token == "}")
            parts.append(token.lstrip("\\"))
        return "".join(parts[:-1])

    # --- brackets and functions

    def _bracket(self) -> Node:
        opening = self.take()
        opening = "[" if opening == r"\lbrack" else opening
        if opening == r"\{" and self.next == r"\}":
            self.take()
            return self.node("set")
        bars, self.bars = self.bars, int(opening == r"\{")
        inside = self.items()
        if opening == r"\{" and self.next in ("|", r"\mid", ":", r"\vert"):
            self.take()
            self.bars = 0
            inside = self.node("builder", inside, self.items())
        self.bars = bars
        closing = self.take()
        closing = "]" if closing == r"\rbrack" else closing
        if opening == r"\{":
            if closing != r"\}":
                raise Unreadable("a set is not closed")
            if inside.op == "builder":
                return inside
            if inside.op == "ratio" and len(inside.args) == 2:  # {x : x > 0}
                raise Unreadable("a set by a condition")
            return self.node("set", *(inside.args if inside.op == "list" else (inside,)))
        if closing not in (")", "]", r"\rangle"):
            raise Unreadable("a bracket is not closed")
        if inside.op == "list":
            return self.node("tuple", *inside.args, value=(opening, closing))
        if opening + closing not in ("()", "[]"):
            raise Unreadable("brackets that do not match")
        if opening == "(" and inside.op == "unit":
            return inside  # 74 (trees)
        return self.node("group", inside) if inside.op not in ("add", "num", "sym") else inside

    def function(self) -> Node:
        name = self.take()[1:]
        power = base = None
        while self.next in ("^", "_"):
            is_power = self.take() == "^"
            if is_power and power is None:
                power = self.argument()
            elif not is_power and base is None:
                base = self.argument()
            else:
                raise Unreadable("two exponents")
        value = self.node("fn", *self._operands(), *([base] if base else []), value=name)
        if base is not None and name != "log":
            raise Unreadable("an index at a function")
        if power is None:
            return value
        if power == Node("neg", (Node("num", (), Number(Fraction(1), None)),)):
            return self.node("fn", *value.args, value=f"arc{name}")
        return self.node("pow", value, power)

    def _operands(self) -> tuple[Node, ...]:
        if self.next in OPENING and self.next != r"\{":
            inside = self._bracket()
            return inside.args if inside.op == "tuple" else (inside,)
        argument = self._signed()
        while self._begins_factor() and self.next not in FUNCTIONS and self.next not in OPENING:
            if self.is_text:
                break
            argument = self.node("mul", argument, self.power())
        if self.next in DIVIDED or self.next in TIMES or self.next in OPENING:
            self.is_ambiguous = True  # \sin x / 2
        return (argument,)
