"""Answers that are a reference with one thing wrong: a digit, a sign, a unit, a base, an exponent.

Each kind changes what the text says, wherever it finds a place; where a change would leave the
meaning (a digit of `0 \\cdot 5`, the sign within `|-3|`) it makes none. `perturbed` is
deterministic in its seed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

DIGIT = re.compile(r"\d")
PLACE_OF_A_SIGN = re.compile(r"(?<=[\w})\]])\s*([+-])\s*(?=[\w\\({])")
POWER = re.compile(r"\^\s*(?:\{\s*(\d)\s*\}|(\d))")
BASE = re.compile(r"(?<=\d)_\{?(\d+)\}?")
UNIT = re.compile(
    r"\\(?:text|mathrm)\s*\{\s*~?\s*(cm|m|km|kg|g|s|h|ft|inches|feet|meters|hours|minutes|days"
    r"|dollars|cents|degrees|J|eV|K|apples|pounds)\s*\}|\((apples|pounds|dollars|hours|miles)\)"
)
PLAIN = re.compile(r"[\d.]*\d|\\frac\s*\{\d+\}\s*\{\d+\}")
EVEN = re.compile(r"\||\\pm|\\mp|\\cos|\\sec|\\cosh|\^\s*\{?\s*[2468]|\\neq|\\in\b|\\cup|\\ldots")


STILL_TRUE = re.compile(r"^\$?i\^")
"""Powers of i: other exponents, same values."""


def perturbed(reference: str, seed: int) -> Iterator[tuple[str, str]]:
    """(kind, answer) for each kind of change that finds a place in a reference."""
    if STILL_TRUE.search(reference):
        return
    rng = random.Random(f"{seed}/{reference}")
    for kind, change in CHANGES.items():
        answer = change(reference, rng)
        if answer is not None and answer != reference:
            yield kind, answer


def _digit(text: str, rng: random.Random) -> str | None:
    places = [match.start() for match in DIGIT.finditer(text)]
    if not places or re.search(r"(?<![\d.])0(?![\d.])", text):
        return None
    at = rng.choice(places)
    other = rng.choice([each for each in "123456789" if each != text[at]])
    return text[:at] + other + text[at + 1 :]


def _sign(text: str, rng: random.Random) -> str | None:
    bare = text.strip("$ ")
    if PLAIN.fullmatch(bare):
        return None if float(re.sub(r"[^\d]", "", bare)) == 0 else text.replace(bare, f"-{bare}")
    signs = list(PLACE_OF_A_SIGN.finditer(text))
    if not signs or EVEN.search(text):
        return None
    sign = rng.choice(signs)
    other = "-" if sign[1] == "+" else "+"
    return text[: sign.start(1)] + other + text[sign.end(1) :]


def _unit(text: str, rng: random.Random) -> str | None:
    unit = UNIT.search(text)
    if unit is None:
        return None
    group = 1 if unit[1] else 2
    return text[: unit.start(group)] + "lightyears" + text[unit.end(group) :]


def _base(text: str, rng: random.Random) -> str | None:
    base = BASE.search(text)
    if base is None:
        return None
    return text[: base.start(1)] + str(int(base[1]) + 1) + text[base.end(1) :]


def _exponent(text: str, rng: random.Random) -> str | None:
    powers = list(POWER.finditer(text))
    if not powers:
        return None
    power = rng.choice(powers)
    group = 1 if power[1] else 2
    if re.search(r"(?<![\d.])[01]\s*$", text[: power.start()]):
        return None
    return text[: power.start(group)] + str(int(power[group]) + 1) + text[power.end(group) :]


CHANGES: dict[str, Callable[[str, random.Random], str | None]] = {
    "digit": _digit,
    "sign": _sign,
    "unit": _unit,
    "base": _base,
    "exponent": _exponent,
}
