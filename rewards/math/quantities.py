"""Plain quantities: a number in whatever notation, exactly, and what it counts or measures."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from munro.rewards.math.units import NO_NOUN, SCALES, is_noun, is_unit, unit_name

MAX_DIGITS = 1_000
MAX_EXPONENT = 1_000
PLACES_OF_A_ROUNDING = 6

UNSIGNED = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)(?:\.\d*)?|\.\d+"
NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<currency>\\?\$|€|£|¥)?\s*(?P<inner>-)?(?:"
    rf"(?P<whole>\d+)(?:\s+(?=\d)|\s*(?=\\))(?:\\[dtc]?frac\s*\{{(?P<mixed_over>\d+)\}}\s*"
    rf"\{{(?P<mixed_under>\d+)\}}|(?P<plain_over>\d+)\s*/\s*(?P<plain_under>\d+))"
    rf"|\\[dtc]?frac\s*\{{\s*(?P<over>[-+]?(?:{UNSIGNED}))\s*\}}\s*"
    rf"\{{\s*(?P<under>[-+]?(?:{UNSIGNED}))\s*\}}"
    rf"|\\[dtc]?frac\s*(?P<short_over>\d)\s*(?P<short_under>\d)"
    rf"|(?P<comma>0|\d+(?=,(?:\d{{1,2}}|\d{{4,}})(?![\d,]))),(?P<decimals>\d+)(?![\d,])"
    rf"|(?P<top>{UNSIGNED})(?:\s*/\s*(?P<bottom>{UNSIGNED})"
    rf"|[eE](?P<exponent>[-+]?\d+)"
    rf"|\s*(?:\\times|\\cdot|\u00d7|\*|·)\s*10\s*(?:\^|\*\*)\s*(?:\{{\s*)?(?P<power>[-+]?\d+)\s*\}}?)?"
    rf")\s*(?P<unit>.*)",
    re.DOTALL,
)
IN_WORDS = re.compile(r"\\(?:text|mathrm|textrm|mbox|textbf|rm)\s*\{([^{}]*)\}")
POWER = re.compile(r"\s*\^\s*\{?\s*([23])\s*\}?$|\s*([²³])$")
DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\^\s*\{?o\}?|°|\\degree")
CONTINUED = re.compile(r"\d|[\\^_{}=+<>|;,]")
LETTERS = re.compile(
    r"[A-Za-z]{1,2}|[A-Za-z]*(?:pi|sin|cos|tan|log|ln|sqrt|theta|alpha|beta)[A-Za-z]*"
)


class Quantity(NamedTuple):
    """A number as written: its exact value, and how it was written."""

    value: Fraction
    places: int | None
    """Decimal places, where a decimal point or an exponent is written."""
    unit: str
    """Canonical name of a unit or noun; `%` for a percentage; empty for a bare number."""
    has_comma: bool = False
    """`1,5`: a decimal comma to some, a list to others."""


def quantity(text: str) -> Quantity | None:
    """A plain number with an optional unit or noun, exactly; None for anything else."""
    if len(text) > MAX_DIGITS:
        return None
    match = NUMBER.fullmatch(text)
    if match is None:
        return None
    scale, rest = _scale(match["unit"])
    unit = _unit(rest, match["currency"])
    if unit is None:
        return None
    value = _value(match)
    if value is None:
        return None
    value *= scale
    is_negative = (match["sign"] == "-") != (match["inner"] == "-")
    return Quantity(
        -value if is_negative else value, _places(match), unit, match["comma"] is not None
    )


def _places(match: re.Match[str]) -> int | None:
    if match["comma"] is not None:
        return len(match["decimals"])
    if match["top"] is None or match["bottom"] is not None:
        return None
    _, point, decimals = match["top"].partition(".")
    exponent = match["exponent"] or match["power"]
    if not decimals and not exponent:
        return None
    if not point and not match["exponent"]:
        return None
    return max(0, len(decimals) - int(exponent or 0))


def _value(match: re.Match[str]) -> Fraction | None:
    part = match.groupdict()
    over = part["mixed_over"] or part["plain_over"] or part["over"] or part["short_over"]
    under = part["mixed_under"] or part["plain_under"] or part["under"] or part["short_under"]
    if part["top"] is not None:
        over, under = part["top"], part["bottom"] or "1"
    if part["comma"] is not None:
        over, under = f"{part['comma']}.{part['decimals']}", "1"
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


def _scale(text: str) -> tuple[int, str]:
    """`million` behind a number multiplies it."""
    plain = IN_WORDS.sub(r" \1 ", text).strip()
    word, _, rest = plain.partition(" ")
    scale = SCALES.get(word.lower())
    return (1, text) if scale is None else (scale, rest)


def _unit(text: str, currency: str | None) -> str | None:
    """Canonical unit or noun, empty for none, None for something that is neither."""
    text = text.strip()
    if currency:
        sign = currency.lstrip("\\")
        return sign if text in ("", "dollars", r"\text{ dollars}") else None
    if text in ("", "\\%", "%"):
        return text.lstrip("\\")
    if text in ("\\$", "$", "€", "£"):
        return text.lstrip("\\")
    if DEGREES.fullmatch(text):
        return "°"
    power = POWER.search(text)
    if power is not None:
        text = text[: power.start()]
    in_words = IN_WORDS.search(text) is not None
    words = IN_WORDS.sub(r" \1 ", text).replace("~", " ")
    words = " ".join(words.replace("²", "^2").replace("³", "^3").split()).strip(" .")
    if words.startswith("(") and words.endswith(")"):
        words, in_words = words[1:-1].strip(), True
    name = _noun(words, in_words=in_words)
    if name is None:
        return None
    exponent = (power[1] or power[2] if power else "").translate(str.maketrans("²³", "23"))
    return f"{name}^{exponent}" if exponent else name


def _noun(words: str, *, in_words: bool) -> str | None:
    if not words or (CONTINUED.search(words.replace("^2", "").replace("^3", ""))):
        return None
    name = unit_name(words)
    if is_unit(name):
        return name
    if not is_noun(words):
        return None
    if not in_words and any(LETTERS.fullmatch(word) for word in words.split()):
        is_measured = words.split()[0].lower() not in NO_NOUN and len(words.split()[0]) > 2
        if not is_measured or LETTERS.fullmatch(words.split()[0]):
            return None
    return name


def agree(given: Quantity, expected: Quantity) -> bool:
    """Equal, as a careful reader would say.

    Integers, fractions and decimals agree exactly; a decimal with six places or more also agrees
    with what it is the rounding of (so that 0.333333 is 1/3), unless that shows as many places. A
    unit may be left out but not be another one; a percentage agrees with its number of hundredths
    as well as with the bare number before the sign.
    """
    if given.unit and expected.unit and given.unit != expected.unit:
        return False
    if (given.unit == "%") != (expected.unit == "%"):
        scale = Fraction(1, 100) if given.unit == "%" else Fraction(100)
        if _close(given._replace(value=given.value * scale, places=None), expected):
            return True
    return _close(given, expected)


def _close(given: Quantity, expected: Quantity) -> bool:
    if given.value == expected.value:
        return True
    pairs = ((given, expected), (expected, given))
    return any(_is_rounding(written, exact) for written, exact in pairs)


def _is_rounding(written: Quantity, exact: Quantity) -> bool:
    if written.places is None or written.places < PLACES_OF_A_ROUNDING:
        return False
    if exact.places is not None and exact.places <= written.places:
        return False
    gap = abs(written.value - exact.value)
    return gap <= abs(exact.value) / 10_000 and gap <= Fraction(1, 2 * 10**written.places)
