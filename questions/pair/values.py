"""What an expression of numbers comes to, exactly: to check an answer against its question.

expression  sum of terms; term  product of factors, the sign left out too ("3x"); factor  sign,
number, letter, brackets, power. Read by this grammar alone; whatever does not fit has no value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

TOKEN = re.compile(r"\s*(?:(\d{1,15}(?:\.\d{1,12})?|\.\d{1,12})|([a-z])(?![a-z])|(\*\*|[-+*/^()]))")
MOST_TOKENS, MOST_POWER, MOST_DEPTH = 80, 32, 20
SIGNS = str.maketrans(
    {"\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-",
     "[": "(", "]": ")", "{": "(", "}": ")", "\u00b2": None, "\u00b3": None}
)  # fmt: skip
GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")
COMMANDS = {r"\times": "*", r"\cdot": "*", r"\div": "/", r"\left": "", r"\right": "", "$": ""}
FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]{1,40})\}\s*\{([^{}]{1,40})\}")


def value_of(text: str, letters: Mapping[str, Fraction] | None = None) -> Fraction | None:
    """The value of an expression, None where it has none or is not read.

    Args:
        text: plain or simple LaTeX; superscript digits are not read.
        letters: what letters stand for.
    """
    if "\u00b2" in text or "\u00b3" in text or len(text) > 400:
        return None
    plain = FRACTION.sub(r"((\1)/(\2))", text)
    for command, sign in COMMANDS.items():
        plain = plain.replace(command, sign)
    tokens = _tokens(GROUPED.sub("", plain.translate(SIGNS)).strip())
    if tokens is None:
        return None
    try:
        reader = _Reader(tokens, letters or {})
        value = reader.sum(0)
    except (_NoValue, ZeroDivisionError):
        return None
    return value if reader.at == len(tokens) else None


class _NoValue(Exception):
    """The text is none of this grammar's."""


def _tokens(text: str) -> list[str] | None:
    tokens: list[str] = []
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None or len(tokens) >= MOST_TOKENS:
            return None
        tokens.append("^" if found[3] == "**" else found[0].strip())
        at = found.end()
    return tokens or None


class _Reader:
    def __init__(self, tokens: list[str], letters: Mapping[str, Fraction]) -> None:
        self._tokens, self._letters = tokens, letters
        self.at = 0

    def _next(self) -> str:
        return self._tokens[self.at] if self.at < len(self._tokens) else ""

    def sum(self, depth: int) -> Fraction:
        if depth > MOST_DEPTH:
            raise _NoValue
        total = self._term(depth)
        while (sign := self._next()) in ("+", "-"):
            self.at += 1
            term = self._term(depth)
            total = total + term if sign == "+" else total - term
        return total

    def _term(self, depth: int) -> Fraction:
        product = self._factor(depth)
        while (sign := self._next()) and sign not in "+-)":
            if sign in ("*", "/"):
                self.at += 1
            elif sign[0].isdigit() or sign[0] in ".^":  # two numbers side by side are no product
                raise _NoValue
            factor = self._factor(depth)
            product = product / factor if sign == "/" else product * factor
        return product

    def _factor(self, depth: int) -> Fraction:
        token = self._next()
        self.at += 1
        if token == "-":
            return -self._factor(depth + 1) if depth < MOST_DEPTH else self._none()
        if token == "+":
            return self._factor(depth + 1) if depth < MOST_DEPTH else self._none()
        if token == "(":
            base = self.sum(depth + 1)
            if self._next() != ")":
                raise _NoValue
            self.at += 1
        elif token and (token[0].isdigit() or token[0] == "."):
            base = Fraction(token)
        elif token in self._letters:
            base = self._letters[token]
        else:
            raise _NoValue
        return self._power(base, depth)

    def _power(self, base: Fraction, depth: int) -> Fraction:
        if self._next() != "^":
            return base
        self.at += 1
        power = self._factor(depth + 1) if depth < MOST_DEPTH else self._none()
        if power.denominator != 1 or abs(power) > MOST_POWER or abs(base) > 10**9:
            raise _NoValue
        return base ** int(power)

    def _none(self) -> Fraction:
        raise _NoValue
