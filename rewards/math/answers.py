"""The text of an answer: finding it in a reply, cleaning it, and the cases that need no algebra.

Everything here is linear in its input and bounded; nothing evaluates. What these rules cannot
decide goes to `munro.rewards.math.equivalence` in a child process.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

WINDOW_CHARS = 65_536
MAX_ANSWER_CHARS = 4_000
MAX_DEPTH = 25
MAX_DIGITS = 1_000
MAX_EXPONENT = 1_000

ANSWER_TAG = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)
BOX_PARTS = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
PHRASE = re.compile(r"\banswer\s*(?:is|[:=])\s*:?\s*(\S[^\n]{0,2000})", re.IGNORECASE)
FORMULA = re.compile(
    r"\$\$([^$]{1,2000})\$\$|\$([^$\n]{1,2000})\$|\\\(([^\n]{1,2000}?)\\\)|\\\[(.{1,2000}?)\\\]",
    re.DOTALL,
)
FALLBACK_WINDOW_CHARS = 4_000
PLAIN_NUMBER = re.compile(
    r"(?<![\w.])[-+\u2212]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))"
    r"(?:[eE][-+]?\d+|\s?/\s?\d+(?:\.\d+)?)?\s?%?"
)

DASHES = dict.fromkeys(map(ord, "\u2212\u2013\u2014\u2010\u2011\u2012\ufe63"), "-")
SLASHES = dict.fromkeys(map(ord, "\u2044\u2215"), "/")
WIDE = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
PLAIN_CHARACTERS = {**DASHES, **SLASHES, **WIDE, 0x2019: "'"}

WRAPPERS = (
    re.compile(r"\$\$(.*)\$\$", re.DOTALL),
    re.compile(r"\$([^$]*)\$"),
    re.compile(r"\\\((.*)\\\)", re.DOTALL),
    re.compile(r"\\\[(.*)\\\]", re.DOTALL),
    re.compile(r"\*\*(.*)\*\*", re.DOTALL),
    re.compile(r"`([^`]*)`"),
    re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|textrm)\s*\{([^{}]*)\}"),
)
NAMED_VALUE = re.compile(r"[A-Za-z](?:_\{?\w{1,3}\}?)?\s*=(?!=)\s*")
CHOICE = re.compile(r"[(\[]?([A-J])[)\].:]?")
CHOICE_THEN_TEXT = re.compile(r"(?:\(([A-J])\)|([A-J])[).:])(?:\s.*)?|([A-J])", re.DOTALL)
WORDS = re.compile(r"[^\W\d_]+(?:[ ,.'-]+[^\W\d_]+)*")
SHORT_WORDS = frozenset({"yes", "no", "true", "false", "none", "even", "odd", "red", "both"})
CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\.?)?", re.IGNORECASE)
MATHEMATICAL_WORD = re.compile(
    r"\b(?:a?(?:sin|cos|tan)h?|sqrt|log|ln|exp|pi|inf|infinity|emptyset|theta|alpha|beta|gamma"
    r"|lambda|max|min|gcd|lcm)\b",
    re.IGNORECASE,
)

UNSIGNED = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)(?:\.\d*)?|\.\d+"
NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<currency>\\?\$|€|£|¥)?\s*(?:"
    rf"(?P<whole>\d+)(?:\s+(?=\d)|\s*(?=\\))(?:\\[dtc]?frac\s*\{{(?P<mixed_over>\d+)\}}\s*"
    rf"\{{(?P<mixed_under>\d+)\}}|(?P<plain_over>\d+)\s*/\s*(?P<plain_under>\d+))"
    rf"|\\[dtc]?frac\s*\{{\s*(?P<over>[-+]?(?:{UNSIGNED}))\s*\}}\s*"
    rf"\{{\s*(?P<under>[-+]?(?:{UNSIGNED}))\s*\}}"
    rf"|\\[dtc]?frac\s*(?P<short_over>\d)\s*(?P<short_under>\d)"
    rf"|(?P<top>{UNSIGNED})(?:\s*/\s*(?P<bottom>{UNSIGNED})"
    rf"|[eE](?P<exponent>[-+]?\d+)"
    rf"|\s*(?:\\times|\\cdot|\u00d7|\*|·)\s*10\s*(?:\^|\*\*)\s*\{{?\s*(?P<power>[-+]?\d+)\s*\}}?)?"
    rf")\s*(?P<unit>.*)",
    re.DOTALL,
)
UNIT_WORD = re.compile(
    r"(?:\\(?:text|mathrm|textrm|mbox|rm)\s*\{\s*)?([A-Za-zµΩ°/ .]*)\}?\s*"
    r"(?:\^\s*\{?\s*([23])\s*\}?|([²³]))?"
)
UNIT_NAMES = {
    "percent": "%", "percentage": "%", "pct": "%",
    "degree": "°", "degrees": "°", "deg": "°",
    "meter": "m", "meters": "m", "metre": "m", "metres": "m",
    "centimeter": "cm", "centimeters": "cm", "centimetre": "cm", "centimetres": "cm",
    "millimeters": "mm", "millimetres": "mm", "kilometers": "km", "kilometres": "km",
    "inch": "in", "inches": "in", "foot": "ft", "feet": "ft", "yards": "yd", "miles": "mile",
    "gram": "g", "grams": "g", "kilogram": "kg", "kilograms": "kg", "pounds": "lb", "lbs": "lb",
    "second": "s", "seconds": "s", "sec": "s", "minute": "min", "minutes": "min", "mins": "min",
    "hour": "h", "hours": "h", "hr": "h", "hrs": "h", "day": "d", "days": "d",
    "dollar": "$", "dollars": "$", "euro": "€", "euros": "€", "cents": "cent",
    "liter": "l", "liters": "l", "litre": "l", "litres": "l", "L": "l",
    "joules": "J", "joule": "J", "newtons": "N", "newton": "N", "watts": "W", "watt": "W",
    "volts": "V", "volt": "V", "ohms": "Ω", "ohm": "Ω", "kelvin": "K", "units": "unit",
}  # fmt: skip
UNITS = frozenset(UNIT_NAMES.values()) | {
    "ml", "mg", "km/h", "m/s", "mph", "Hz", "kHz", "MHz", "kJ", "kW", "Pa", "kPa", "mol", "rad",
    "ms", "kWh", "cal", "kcal", "A", "C", "F", "eV", "nm", "µm", "yr", "years", "people", "ways",
    "square units", "cubic units", "sq cm", "sq m", "students", "apples", "points",
}  # fmt: skip


class Quantity(NamedTuple):
    """A number as written: its exact value, and how it was written."""

    value: Fraction
    is_decimal: bool
    unit: str
    """Canonical name; `%` for a percentage; empty for a bare number."""


def extract(reply: str) -> str | None:
    """The final answer in a reply, or None where there is none.

    In this order: what the last `<answer>` holds; the last `\\boxed{}` whose braces balance; what
    follows "answer is" or "answer:"; the last formula or number. Thoughts (before `</think>`) do
    not count, and only the last 65,536 characters are read.
    """
    text = reply[-WINDOW_CHARS:].rpartition("</think>")[2]
    tagged = [match[1] for match in ANSWER_TAG.finditer(text)]
    if tagged:
        inside = tagged[-1].strip()
        return (_boxed(inside) or _phrase(inside) or inside) or None
    return _boxed(text) or _phrase(text) or _last_expression(text)


def _boxed(text: str) -> str | None:
    """Content of the last balanced box, in one pass over the braces."""
    opened: list[int | None] = []
    found = None
    for part in BOX_PARTS.finditer(text):
        token = part[0]
        if token == "{":
            opened.append(None)
        elif token == "}":
            start = opened.pop() if opened else None
            if start is not None:
                found = text[start : part.start()].strip() or found
        elif token.endswith("{") and len(token) > 2:
            opened.append(part.end())
    return found


def _phrase(text: str) -> str | None:
    phrases = [match[1] for match in PHRASE.finditer(text[-FALLBACK_WINDOW_CHARS:])]
    if not phrases:
        return None
    rest = phrases[-1].strip()
    formula = FORMULA.match(rest)
    if formula:
        return next(group for group in formula.groups() if group is not None).strip()
    return rest.removesuffix(".").strip() or None


def _last_expression(text: str) -> str | None:
    tail = text[-FALLBACK_WINDOW_CHARS:]
    end, found = -1, None
    for formula in FORMULA.finditer(tail):
        end, found = formula.end(), next(group for group in formula.groups() if group is not None)
    for number in PLAIN_NUMBER.finditer(tail, max(end, 0)):
        if any(letter.isdigit() for letter in number[0]):
            found = number[0]
    return found.strip() or None if found else None


def clean(text: str) -> str:
    """One spelling for what looks the same: dashes, digits of all scripts, spaces, wrappers.

    Invisible characters (zero-width, direction marks, controls) and lone surrogates are dropped.
    """
    text = text.translate(PLAIN_CHARACTERS)
    if not text.isascii() or not text.isprintable():
        text = "".join(map(_plain_character, text))
    text = text.replace("{,}", ",").replace(r"\!", "").replace(r"\,", " ").replace(r"\;", " ")
    text = text.replace(r"\left", "").replace(r"\right", "").strip()
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


def decide(answer: str, gold: str) -> bool | None:
    """Whether two cleaned texts agree, or None where that takes algebra."""
    if key(answer) == key(gold):
        return True
    choice = CHOICE.fullmatch(gold)
    if choice:
        given = CHOICE_THEN_TEXT.fullmatch(answer)
        if given:
            return (given[1] or given[2] or given[3]) == choice[1]
        return None if len(gold) == 1 else False
    expected = quantity(gold)
    if expected is not None:
        named = NAMED_VALUE.match(answer)
        given_value = quantity(answer[named.end() :] if named else answer)
        return None if given_value is None else agree(given_value, expected)
    if CLOCK.fullmatch(gold) or is_words(gold):
        return False
    return None


def leaves_open(answer: str, gold: str) -> bool:
    """Whether a `decide` that says no goes by spelling: other words, or the other of two units."""
    named = NAMED_VALUE.match(answer)
    expected, given = quantity(gold), quantity(answer[named.end() :] if named else answer)
    if expected is not None:
        units = {expected.unit, given.unit} if given else set()
        return len(units - {""}) == 2
    if CHOICE.fullmatch(gold) or {answer.lower(), gold.lower()} <= SHORT_WORDS:
        return False
    return bool(CLOCK.fullmatch(gold)) or is_words(gold)


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


def quantity(text: str) -> Quantity | None:
    """A plain number with an optional unit, exactly; None for anything else."""
    if len(text) > MAX_DIGITS:
        return None
    match = NUMBER.fullmatch(text)
    if match is None:
        return None
    unit = _unit(match["unit"], match["currency"])
    if unit is None:
        return None
    value = _value(match)
    if value is None:
        return None
    is_decimal = bool(re.search(r"\.\d", text[: match.start("unit")]) or match["exponent"])
    return Quantity(-value if match["sign"] == "-" else value, is_decimal, unit)


def _value(match: re.Match[str]) -> Fraction | None:
    part = match.groupdict()
    over = part["mixed_over"] or part["plain_over"] or part["over"] or part["short_over"]
    under = part["mixed_under"] or part["plain_under"] or part["under"] or part["short_under"]
    if part["top"] is not None:
        over, under = part["top"], part["bottom"] or "1"
    exponent = int(part["exponent"] or part["power"] or 0)
    if over is None or under is None or abs(exponent) > MAX_EXPONENT:
        return None
    divisor = _fraction(under)
    if divisor == 0:
        return None
    return (int(part["whole"] or 0) + _fraction(over) / divisor) * Fraction(10) ** exponent


def _fraction(digits: str) -> Fraction:
    bare = digits.replace(",", "").replace(" ", "")
    return Fraction(bare + "0" if bare.endswith(".") else bare)


def _unit(text: str, currency: str | None) -> str | None:
    """Canonical unit, empty for none, None for something that is no unit."""
    text = text.strip()
    if currency:
        return currency.lstrip("\\") if text in ("", "dollars") else None
    if text in ("", "\\%", "%"):
        return text.lstrip("\\")
    if re.fullmatch(r"\^\s*\{?\s*\\circ\s*\}?|\^\s*\{?o\}?|°", text):
        return "°"
    match = UNIT_WORD.fullmatch(text)
    if match is None:
        return None
    word = match[1].strip().removesuffix(".")
    unit = UNIT_NAMES.get(word) or UNIT_NAMES.get(word.lower()) or word
    power = (match[2] or match[3] or "").translate(str.maketrans("²³", "23"))
    return unit + power if unit in UNITS else None


def agree(given: Quantity, expected: Quantity) -> bool:
    """Equal, as a careful reader would say.

    Integers and fractions agree exactly. Where a decimal is involved, both are rounded to six
    places (so that 0.333333 is 1/3), and may not differ by more than one part in ten thousand (so
    that tiny numbers are not all zero). A unit may be left out but not be another one; a
    percentage agrees with its number of hundredths as well as with the bare number before the sign.
    """
    if given.unit and expected.unit and given.unit != expected.unit:
        return False
    is_decimal = given.is_decimal or expected.is_decimal
    if (given.unit == "%") != (expected.unit == "%"):
        scale = Fraction(1, 100) if given.unit == "%" else Fraction(100)
        if _close(given.value * scale, expected.value, is_decimal=is_decimal):
            return True
    return _close(given.value, expected.value, is_decimal=is_decimal)


def _close(given: Fraction, expected: Fraction, *, is_decimal: bool) -> bool:
    if given == expected:
        return True
    if not is_decimal or round(given, 6) != round(expected, 6):
        return False
    return abs(given - expected) <= abs(expected) / 10_000
