"""Plain-text mathematics, rewritten as LaTeX: `sqrt(2)/2 >= x**3` -> `\\sqrt{2}/2 \\geq x^{3}`.

SymPy's own reader of plain text (`parse_expr`, which Math-Verify uses for it) ends in `eval`. Here
a tokenizer with a fixed vocabulary and a small bracket-matching writer produce LaTeX instead, which
goes through the ANTLR grammar of latex2sympy2_extended like any other answer. What the vocabulary
does not know is left alone: the grammar will refuse it.
"""

from __future__ import annotations

import re

from munro.rewards.math.units import POWERS, UNIT_NAMES

UNIT_WORDS = {*(name for name in UNIT_NAMES if name.isalpha()), *POWERS, "per"} - {"sec"}
FUNCTIONS = {
    **dict.fromkeys(("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"), ""),
    **dict.fromkeys(("arcsin", "arccos", "arctan", "ln", "log", "exp", "max", "min", "gcd"), ""),
    "lcm": "",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
}
CONSTANTS = {
    "pi": r"\pi",
    "inf": r"\infty",
    "infinity": r"\infty",
    "oo": r"\infty",
    "theta": r"\theta",
    "alpha": r"\alpha",
    "beta": r"\beta",
    "gamma": r"\gamma",
    "lambda": r"\lambda",
    "union": r"\cup",
    "emptyset": r"\emptyset",
}
SYMBOLS = {
    "*": r" \cdot ",
    "·": r" \cdot ",
    "⋅": r" \cdot ",
    "\u00d7": r" \cdot ",
    "÷": "/",
    "<=": r" \leq ",
    ">=": r" \geq ",
    "!=": r" \neq ",
    "==": "=",
    ",": ", ",
    "≤": r" \leq ",
    "≥": r" \geq ",
    "≠": r" \neq ",
    "≈": r" \approx ",
    "π": r"\pi ",
    "θ": r"\theta ",
    "∞": r"\infty ",
    "\u222a": r" \cup ",
    "∩": r" \cap ",
    "∈": r" \in ",
    "∅": r"\emptyset ",
    "\u211d": r"\mathbb{R}",
    "°": r"^{\circ}",
    "%": r"\%",
    "½": r"\frac{1}{2}",
    "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}",
    "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}",
}
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
TOKEN = re.compile(
    r"\s*(?:(?P<scientific>\d+(?:\.\d+)?[eE][+-]?\d+)|(?P<number>\d+(?:,\d+)*(?:\.\d+)?|\.\d+)"
    r"|(?P<power>\*\*|\^)|(?P<root>√|sqrt(?=\s*[({\d]))|(?P<superscript>[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)"
    r"|(?P<word>[A-Za-z]+)|(?P<symbol><=|>=|!=|==|.))",
    re.DOTALL,
)
CLOSING = {"(": ")", "{": "}", "[": "]"}


def to_latex(text: str) -> str:
    """Plain text as LaTeX; text that already is LaTeX, as it was."""
    if "\\" in text:
        return text
    tokens = [
        (match.lastgroup, match[match.lastgroup])
        for match in TOKEN.finditer(text)
        if match.lastgroup
    ]
    return _write(tokens).strip()


def _write(tokens: list[tuple[str, str]]) -> str:
    written: list[str] = []
    at = 0
    while at < len(tokens):
        kind, token = tokens[at]
        at += 1
        if kind == "root":
            operand, at = _operand(tokens, at)
            written.append(rf"\sqrt{{{operand}}}")
        elif kind == "power":
            operand, at = _operand(tokens, at)
            written.append(f"^{{{operand}}}")
        elif kind == "superscript":
            written.append(f"^{{{token.translate(SUPERSCRIPTS)}}}")
        elif kind == "scientific":
            mantissa, _, exponent = token.lower().partition("e")
            written.append(rf"{mantissa} \cdot 10^{{{int(exponent)}}}")
        elif kind == "word" and (noun := _unit_words(tokens, at - 1)):
            written.append(rf"\text{{ {noun} }}")
            at += noun.count(" ")
        elif kind == "word":
            joins_sets = at > 1 and tokens[at - 2][1] in ")]}" and at < len(tokens)
            is_union = token == "U" and joins_sets and tokens[at][1] in CLOSING
            written.append(r" \cup " if is_union else _word(token))
        elif kind == "symbol":
            written.append(SYMBOLS.get(token, token))
        else:
            written.append(token)
    return "".join(written)


def _unit_words(tokens: list[tuple[str, str]], at: int) -> str:
    """The names of units from here on, as they stand side by side: "square units"."""
    words = []
    for kind, token in tokens[at:]:
        if kind != "word" or len(token) < 3 or token.lower() not in UNIT_WORDS:
            break
        words.append(token)
    return " ".join(words)


def _word(token: str) -> str:
    name = token.lower()
    if name in FUNCTIONS:
        return f"\\{FUNCTIONS[name] or name} "
    if name in CONSTANTS:
        return f"{CONSTANTS[name]} "
    if name in ("and", "or"):
        return rf"\text{{ {name} }}"
    # letters side by side are a product, as they are in LaTeX
    return f"{token} " if len(token) > 1 else token


def _operand(tokens: list[tuple[str, str]], at: int) -> tuple[str, int]:
    """What an exponent or a root applies to: a sign, then a bracket, a call or one token."""
    sign = ""
    while at < len(tokens) and tokens[at][1] in ("-", "+"):
        sign += "-" if tokens[at][1] != "+" else ""
        at += 1
    if at >= len(tokens):
        return sign, at
    token = tokens[at][1]
    if token in ("(", "{"):
        end = _closing(tokens, at)
        return sign + _write(tokens[at + 1 : end]), min(end + 1, len(tokens))
    end = at + 1
    if tokens[at][0] in ("word", "root") and end < len(tokens) and tokens[end][1] == "(":
        end = _closing(tokens, end) + 1
    return sign + _write(tokens[at:end]), end


def _closing(tokens: list[tuple[str, str]], at: int) -> int:
    """Index of the bracket that closes the one at `at`, or the end."""
    opened, closed = tokens[at][1], CLOSING[tokens[at][1]]
    depth = 0
    for index in range(at, len(tokens)):
        depth += (tokens[index][1] == opened) - (tokens[index][1] == closed)
        if depth == 0:
            return index
    return len(tokens)
