"""The text of an answer: cleaning it, and the cases that need no child process.

Everything here is bounded; nothing evaluates text. What these rules cannot decide goes to
`munro.rewards.math.equivalence` in a child process.
"""

from __future__ import annotations

import re
import unicodedata

from munro.rewards.math.agreement import Comparison
from munro.rewards.math.extraction import extract
from munro.rewards.math.grammar import parse
from munro.rewards.math.plain import to_latex
from munro.rewards.math.quantities import Quantity, agree, quantity
from munro.rewards.math.tokens import Unreadable
from munro.rewards.math.tree import Tree

__all__ = ["Reference", "clean", "decide", "depth", "extract", "key", "quantity"]

MAX_ANSWER_CHARS = 4_000
MAX_DEPTH = 25

DASHES = dict.fromkeys(map(ord, "\u2212\u2013\u2014\u2010\u2011\u2012\ufe63"), "-")
SLASHES = dict.fromkeys(map(ord, "\u2044\u2215"), "/")
WIDE = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
PLAIN_CHARACTERS = {
    **DASHES, **SLASHES, **WIDE, 0x2019: "'", 0x3001: ",", 0x3002: ".", 0x2026: "\\ldots ",
}  # fmt: skip

WRAPPERS = (
    re.compile(r"\$\$(.*)\$\$", re.DOTALL),
    re.compile(r"\$([^$]*)\$"),
    re.compile(r"\\\((.*)\\\)", re.DOTALL),
    re.compile(r"\\\[(.*)\\\]", re.DOTALL),
    re.compile(r"\*\*(.*)\*\*", re.DOTALL),
    re.compile(r"`([^`]*)`"),
    re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|textrm)\s*\{([^{}]*)\}"),
)
CIRCLED = "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮⑯⑰⑱⑲⑳"
BETWEEN_CIRCLED = re.compile(rf"(?<=[{CIRCLED}])\s*(?=[{CIRCLED}])")
LINES = re.compile(r"\$\s*\n\s*\$")
ABOUT = re.compile(r"^(\s*\$?)\s*(?:\\approx|≈)\s*")
NEGATIVE_SPACE = re.compile(r"\\!\s*")
COMMA = re.compile(r"\s*\{\s*,\s*\}\s*")
SIDE = re.compile(r"\\(?:left|right)(?![a-zA-Z])")
NAMED_VALUE = re.compile(r"[A-Za-z](?:_\{?\w{1,3}\}?)?\s*=(?!=)\s*")
CHOICE = re.compile(r"[(\[]?([A-J])[)\].:]?")
CHOICE_THEN_TEXT = re.compile(
    r"(?:\\text\s*\{\s*)?(?:\(([A-J])\)|([A-J])[).:])\}?(?:\s*[\s}].*)?|([A-J])", re.DOTALL
)
CHOICE_AND_TEXT = re.compile(r"\(?([A-J])[).:]\s+(\S.*)", re.DOTALL)
WORDS = re.compile(r"[^\W\d_]+(?:[ ,.'-]+[^\W\d_]+)*")
SHORT_WORDS = frozenset({"yes", "no", "true", "false", "none", "even", "odd", "red", "both"})
CLOCK = re.compile(r"(\d{1,2}:\d{2}(?::\d{2})?)\s?(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)
IN_WORDS = re.compile(r"\\(?:text|mathrm|textrm|mbox)\s*\{([^{}]*)\}")
MATHEMATICAL_WORD = re.compile(
    r"\b(?:a?(?:sin|cos|tan)h?|sqrt|log|ln|exp|pi|inf|infinity|emptyset|theta|alpha|beta|gamma"
    r"|lambda|max|min|gcd|lcm)\b",
    re.IGNORECASE,
)


def clean(text: str) -> str:
    """One spelling for what looks the same: dashes, digits of all scripts, spaces, wrappers.

    Invisible characters (zero-width, direction marks, controls) and lone surrogates are dropped.
    """
    text = LINES.sub(", ", ABOUT.sub(r"\1", text.translate(PLAIN_CHARACTERS)))
    if not text.isascii() or not text.isprintable():
        text = "".join(map(_plain_character, text))
        text = BETWEEN_CIRCLED.sub(",", text)
    text = COMMA.sub(",", NEGATIVE_SPACE.sub("", text)).replace(r"\,", " ").replace(r"\;", " ")
    text = SIDE.sub("", text).strip()
    text = text.replace(r"\varnothing", r"\emptyset")
    for _ in range(4):
        before = text
        for wrapper in WRAPPERS:
            if match := wrapper.fullmatch(text):
                text = match[1].strip()
        if text[-1:] in ".,;" and not text.endswith("..."):
            text = text[:-1].rstrip()
        if text == before:
            break
    return text


def _plain_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category in ("Zs", "Zl", "Zp") or character in "\t\n\r":
        return " "
    return "" if category in ("Cf", "Cc", "Cs", "Co", "Cn") else character


class Reference:
    """A cleaned reference answer, read once for all the answers that are held against it.

    Not for several threads at once.
    """

    def __init__(self, text: str, *, may_choose: bool = True) -> None:
        self.text = text
        self.key = key(text)
        self.quantity = quantity(text)
        self.choice = CHOICE.fullmatch(text)
        both = CHOICE_AND_TEXT.fullmatch(text) if may_choose else None
        self.choice_and_text = (
            (both[1], Reference(clean(both[2]), may_choose=False)) if both else None
        )
        self.clock = _clock(text)
        self.is_words = is_words(text)
        tree = read(text)
        self.comparison = None if tree is None else Comparison(tree, text)
        if self.comparison and tree and self.comparison.contradicts_itself(tree):
            self.comparison = None  # not what was meant

    def decide(self, answer: str) -> bool | None:
        """Whether a cleaned answer agrees, or None where that takes algebra."""
        if key(answer) == self.key:
            return True
        if self.choice:
            return self._choose(answer)
        if self.choice_and_text:
            return self._choose_text(answer, *self.choice_and_text)
        if self.clock:
            return _clock(answer) == self.clock
        verdict = self._measure(answer)
        if verdict is not None:
            return verdict
        if self.is_words:
            return False
        tree = read(answer) if self.comparison else None
        return None if tree is None or self.comparison is None else self.comparison.agrees(tree)

    def _choose(self, answer: str) -> bool | None:
        assert self.choice
        given = CHOICE_THEN_TEXT.fullmatch(answer)
        if given:
            return (given[1] or given[2] or given[3]) == self.choice[1]
        if len(answer) == 1 and answer.isalpha():
            return answer.upper() == self.choice[1]
        if len(self.text) > 1:
            return False
        tree = read(answer) if self.comparison else None  # `E` may be an energy
        return None if tree is None or self.comparison is None else self.comparison.agrees(tree)

    def _choose_text(self, answer: str, letter: str, text: Reference) -> bool | None:
        given = CHOICE.fullmatch(answer)
        if given:
            return given[1] == letter
        both = CHOICE_AND_TEXT.fullmatch(answer)
        if both and both[1] != letter:
            return False
        return text.decide(clean(both[2]) if both else answer)

    def _measure(self, answer: str) -> bool | None:
        if self.quantity is None:
            return None
        given = _given(answer)
        if given is None:
            return None
        if given.has_comma or self.quantity.has_comma:  # 1,5 is a number to some, a list to others
            agrees = agree(given, self.quantity)
            is_decimal = (given.has_comma, self.quantity.has_comma).count(True) == 1
            return True if agrees and is_decimal and given.places == self.quantity.places else None
        return agree(given, self.quantity)

    def leaves_open(self, answer: str) -> bool:
        """Whether a `decide` that says no goes by spelling: other words, or another unit."""
        if self.quantity is not None:
            given = _given(answer)
            units = {self.quantity.unit, given.unit} if given else set()
            return len(units - {""}) == 2
        if self.choice or {answer.lower(), self.text.lower()} <= SHORT_WORDS:
            return False
        return bool(self.clock) or self.is_words


def decide(answer: str, gold: str) -> bool | None:
    """Whether two cleaned texts agree, or None where that takes algebra."""
    return Reference(gold).decide(answer)


def read(text: str) -> Tree | None:
    """The tree of a cleaned answer, None where the grammar does not know it."""
    try:
        return parse(to_latex(text))
    except (Unreadable, RecursionError):
        return None


def _given(answer: str) -> Quantity | None:
    named = NAMED_VALUE.match(answer)
    return quantity(answer[named.end() :] if named else answer)


def _clock(text: str) -> tuple[str, str] | None:
    """`10:45\\text{ a.m.}` -> ("10:45", "a")."""
    match = CLOCK.fullmatch(" ".join(IN_WORDS.sub(r" \1", text).replace("~", " ").split()))
    return (match[1], (match[2] or "").lower()) if match else None


def depth(text: str) -> int:
    """How deep brackets are nested, whether they match or not."""
    level = deepest = 0
    for character in text:
        if character in "([{":
            level += 1
            deepest = max(deepest, level)
        elif character in ")]}":
            level -= 1
    return deepest


def is_words(text: str) -> bool:
    """Whether this is prose and not mathematics: a name, "no solution", "yes"."""
    if not WORDS.fullmatch(text) or MATHEMATICAL_WORD.search(text):
        return False
    return text.lower() in SHORT_WORDS or any(len(word) > 3 for word in re.split(r"\W+", text))


def key(text: str) -> str:
    """Texts with one key are equal whatever they mean; case counts in mathematics, not in prose."""
    squeezed = re.sub(r"\s+", "", text).strip("'\"")
    return squeezed.casefold() if is_words(text.strip("'\"")) else squeezed
