r"""Tokens of an answer in LaTeX: `2\,\mathrm{cm}` -> `2` and the word `cm`."""

from __future__ import annotations

import re
from typing import NamedTuple

TEXT = "text"
MAX_TOKENS = 1_200


class Unreadable(Exception):
    """This grammar cannot read the text."""


class Token(NamedTuple):
    """A piece of text: a number, a letter, a command or sign, or words out of `\\text{...}`."""

    kind: str
    text: str


SPACING = re.compile(
    r"(\\\\)|\\(?:[,;:!> ]|(?:q?quad|displaystyle|limits)(?![a-zA-Z])"
    r"|(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])\.?)|~|(?<!\\)\$"
)
ALIASES = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\dbinom": r"\binom",
    r"\tbinom": r"\binom", r"\varnothing": r"\emptyset", r"\dots": r"\ldots",
    r"\cdots": r"\ldots", r"\dotsc": r"\ldots", r"\lbrace": r"\{", r"\rbrace": r"\}",
    r"\vert": "|", r"\mid": r"\mid", r"\colon": ":", r"\land": "and", r"\lor": "or",
    r"\tg": r"\tan", r"\ctg": r"\cot", r"\arctg": r"\arctan", r"\thinspace": "", r"\%": "%",
    r"\wedge": "and", r"\vee": "or", r"\bigcup": r"\cup", r"\infin": r"\infty",
    r"\R": r"\mathbb{R}",
    r"\prime": "'", r"\overrightarrow": r"\vec", r"\gt": ">", r"\lt": "<", r"\leqq": r"\leq",
    r"\lparen": "(", r"\rparen": ")", r"\degree": "°", r"\ellipsis": r"\ldots",
}  # fmt: skip
STYLE = r"mathbf|mathit|boldsymbol|bm|mathsf|mathcal|mathscr|pmb|boldmath"
WORDS_OF = r"text|textrm|textbf|textit|textnormal|mbox|hbox|mathrm|operatorname\*?|rm|textsf|texttt"
TOKEN = re.compile(
    rf"(?P<words>\\(?:{WORDS_OF})\s*\{{(?P<inside>[^{{}}]*)\}})"
    rf"|(?P<style>\\(?:{STYLE})\s*\{{(?P<styled>(?:\\?[A-Za-z]+))\}})"
    r"|(?P<environment>\\(?:begin|end)\s*\{[a-z]+\*?\})"
    r"|(?P<blackboard>\\mathbb\s*\{?[A-Z]\}?)"
    r"|(?P<command>\\[A-Za-z]+|\\.)"
    r"|(?P<number>\d+(?:\.(?:\d+|(?=\s*\\overline)))?|\.\d+)"
    r"|(?P<chinese>[\u3400-\u9fff]+)"
    r"|(?P<run>[A-Za-z]{2,})"
    r"|(?P<letter>[^\W\d_])"
    r"|(?P<sign>\S)",
    re.DOTALL,
)
GROUPED = re.compile(r"(?<![\d.,])(\d{1,3})((?:,\d{3})+)(?![\d,])")
JOINED = re.compile(r"(?<=\s)(and|or|by)(?=\s|$)|^(and|or|by)(?=\s)")
COLUMNS = re.compile(r"(\\begin\s*\{array\})\s*\{[^{}]*\}")
FUNCTION_WORDS = frozenset((
    "sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "exp", "max", "min", "gcd", "lg",
    "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
))  # fmt: skip
JOINING = {"and": "and", "or": "or", "by": "by", "或": "or", "和": "and", ",": ",", "且": "and"}
SMALL_WORDS = frozenset((
    "if", "is", "of", "to", "in", "no", "so", "at", "we", "it", "as", "be", "the", "for", "any",
    "are", "has", "not", "all", "its", "can", "was", "but", "per",
))  # fmt: skip
TRAILING_UNITS = frozenset((
    "cm", "mm", "km", "kg", "ft", "mi", "lb", "oz", "ml", "mL", "mph", "Hz", "kJ", "kW", "eV",
    "cents", "sq", "yd", "in",
))  # fmt: skip
LONGEST_PRODUCT = 3
"""Letters side by side that are still read as a product; more are a word."""


def tokenize(text: str) -> list[Token]:
    """The tokens of a cleaned answer.

    Raises:
        Unreadable: more of them than any answer has.
    """
    text = COLUMNS.sub(r"\1", SPACING.sub(lambda match: match[1] or " ", text))
    if not any(opening in text for opening in "([{"):
        text = GROUPED.sub(lambda match: match[0].replace(",", ""), text)
    tokens: list[Token] = []
    for match in TOKEN.finditer(text):
        tokens.extend(_token(match))
        if len(tokens) > MAX_TOKENS:
            raise Unreadable("too long")
    return tokens


def _token(match: re.Match[str]) -> list[Token]:
    kind = str(match.lastgroup)
    if match["words"]:
        return _words(match["inside"], upright=match[0].startswith((r"\mathrm", r"\op", r"\rm")))
    if match["style"]:
        inside = match["styled"]
        return [Token("letter", inside)] if inside[0] == "\\" else _letters(inside)
    if match["environment"]:
        return [Token("command", re.sub(r"[\s*]", "", match[0]).replace("dcases", "cases"))]
    if match["blackboard"]:
        letter = next(each for each in match[0][7:] if each.isupper())
        return [Token("command", rf"\mathbb{{{letter}}}")]
    if match[0] == "\\$":
        return [Token(TEXT, "$")]
    if kind == "command":
        text = ALIASES.get(match[0], match[0])
        if text in ("and", "or"):
            return [Token(TEXT, text)]
        return [Token("sign" if len(text) == 1 else "command", text)] if text else []
    if kind == "chinese":
        return [Token(TEXT, JOINING.get(match[0], match[0]))]
    if kind == "run":
        return _run(match[0], is_last=not match.string[match.end() :].strip())
    return [Token(kind, match[0])]


def _run(text: str, *, is_last: bool) -> list[Token]:
    """Letters side by side, outside of `\\text`: a function, a product, or a word."""
    lowered = text.lower()
    if lowered in JOINING:
        return [Token(TEXT, JOINING[lowered])]
    if text in FUNCTION_WORDS:
        return [Token("command", f"\\{text}")]
    if is_last and text in TRAILING_UNITS:
        return [Token(TEXT, text)]
    is_product = text.isupper() or len(text) <= LONGEST_PRODUCT
    if is_product and lowered not in SMALL_WORDS:
        return _letters(text)
    return [Token("word", text)]


def _letters(text: str) -> list[Token]:
    return [Token("letter", each) for each in text]


def _words(inside: str, *, upright: bool) -> list[Token]:
    text = " ".join(inside.replace("~", " ").split())
    text = text.replace(r"\cdot", "*").replace(" * ", "*")
    bare = text.strip(" ,.")
    parts = JOINED.split(bare)
    if len(parts) > 1:
        return [token for part in parts if part for token in _words(part, upright=upright)]
    if not bare:
        return [Token("sign", ",")] if text.startswith(",") else []
    lowered = bare.lower()
    if lowered in JOINING:
        joined = JOINING[lowered]
        return [Token("sign", ",")] if joined == "," else [Token(TEXT, joined)]
    if bare in ("i", "e", "π") or (len(bare) == 1 and "a" <= bare.lower() <= "z" and not upright):
        return [Token("letter", bare)]
    if upright and lowered in FUNCTION_WORDS:
        return [Token("command", f"\\{lowered}")]
    if bare.replace(".", "", 1).isdigit():
        return [Token("number", bare)]
    return [Token(TEXT, bare)]
