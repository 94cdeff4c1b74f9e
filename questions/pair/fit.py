"""Whether an answer fits its question, as far as rules can see: a value, a unit, a letter, a form.

1 where something in the answer speaks for this question, -1 where something speaks against it, 0
where nothing is to be seen. Never a proof of the answer, but for values that are computed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from munro.questions.pair.values import value_of

COMPUTED = re.compile(
    r"(?:^|[.:;]\s|\b(?:is|of|compute|calculate|evaluate|find|simplify|work out|add|determine|"
    r"value of)\s*:?\s+)(?:the value of\s+)?(?:\$|\\\(|\s)*"
    r"(?P<sum>[-(\d.\\][-+*/^\d.,()\s\u00d7\u00f7\u2212\u00b7\\a-z{}]*?)"
    r"(?:\$|\\\)|\s)*(?:=\s*)?[?.]?\s*$",
    re.I,
)
OPERATION = re.compile(r"[\d})]\s*[-+*/^\u00d7\u00f7\u2212\u00b7\\]|\\[dt]?frac")
EQUATION = re.compile(
    r"(?P<left>[-+*/^\d.()\sa-z\u00d7\u2212\u00b7]{1,60})=(?P<right>[-+*/^\d.()\sa-z\u00d7\u2212\u00b7]{1,60})",
    re.I,
)
SOLVED = re.compile(
    r"^\$?\s*(?:(?P<letter>[a-z])\s*=\s*)?(?P<value>[-\u2212]?[\d./\s]+?)\s*\$?\.?$", re.I
)
NUMBER = re.compile(
    r"[-\u2212]?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?(?:\s*(?:\u00d7|x|\*)\s*10\^?[-\u2212\d]+)?"
)
WORD = re.compile(r"[^\W\d_]+(?:/[^\W\d_]+)?[\u00b2\u00b3]?|[%\u00b0\u03a9\u20ac\u00a3$]")
UNITS = {
    unit: kind
    for kind, units in {
        "length": "m metre metres meter meters km kilometre kilometres kilometers cm mm nm "
        "mile miles foot feet ft inch inches",
        "mass": "kg g gram grams kilogram kilograms tonne tonnes lb mg",
        "time": "s second seconds min minute minutes h hour hours day days year years ms",
        "speed": "m/s km/h mph",
        "energy": "j joule joules kj ev mev cal kcal",
        "power": "w watt watts kw",
        "force": "n newton newtons kn",
        "charge": "c coulomb coulombs",
        "voltage": "v volt volts mv kv",
        "current": "a amp amps ampere amperes ma",
        "resistance": "ohm ohms \u03c9",
        "frequency": "hz hertz khz mhz",
        "pressure": "pa pascal pascals kpa atm bar",
        "amount": "mol moles mole",
        "temperature": "k kelvin celsius \u00b0c",
        "angle": "degrees degree radians rad \u00b0",
        "volume": "l litre litres liter liters ml m\u00b3 cm\u00b3",
        "area": "m\u00b2 cm\u00b2",
        "share": "% percent",
    }.items()
    for unit in units.split()
}
ASKED_IN = re.compile(r"\bin\s+(?:units\s+of\s+)?([^\W\d_]+(?:/[^\W\d_]+)?[\u00b2\u00b3]?)", re.I)
HOW_MANY = re.compile(r"\bhow\s+many\s+([^\W\d_]+)", re.I)
YES_NO = re.compile(
    r"^(?:is|are|does|do|can|will|has|have|was|were|could|would|must)\b|\btrue or false\b", re.I
)
IS_YES_NO = re.compile(r"^(?:yes|no|true|false)\b", re.I)
PROOF = re.compile(r"\b(?:prove|show)\s+(?:that|the|why)\b|\bprove\b", re.I)
OPTIONS = re.compile(r"(?:^|\s)\(?[A-E][.)]\s", re.M)
IS_LETTER = re.compile(r"^\(?[A-Ea-e]\)?[.)]?$")
LONGEST, LONGEST_SUM = 4000, 240
"""Characters that are looked at: the time that these patterns take grows with their square."""
LETTERS_FREE = frozenset("eiCckn")
"""Letters that an answer may bring along: constants, and counters."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How an answer fits, and by what that was seen."""

    score: int
    seen: str = ""


NOTHING = Fit(0)


def fit(question: str, answer: str) -> Fit:
    """How an answer fits its question; of what is too long for either nothing is seen."""
    if len(question) > LONGEST or len(answer) > LONGEST:
        return NOTHING
    for look in (_value, _solution, _form, _unit, _letters):
        found = look(question, answer)
        if found is not None:
            return found
    return NOTHING


def _value(question: str, answer: str) -> Fit | None:
    found = COMPUTED.search(question[-LONGEST_SUM:])
    if found is None or not OPERATION.search(found["sum"]):
        return None
    wanted, given = value_of(found["sum"]), value_of(_number_in(answer))
    if wanted is None or given is None:
        return None
    if wanted == given or _rounded(wanted, _number_in(answer)):
        return Fit(1, f"{found['sum'].strip()} is {given}")
    return Fit(-1, f"{found['sum'].strip()} is {_shown(wanted)}, not {given}")


def _solution(question: str, answer: str) -> Fit | None:
    given = SOLVED.match(answer.strip())
    if given is None or not re.search(r"\bsolve\b|\bfind\b|\broot\b", question, re.I):
        return None
    value = value_of(given["value"])
    for found in EQUATION.finditer(question):
        letters = {
            one
            for side in ("left", "right")
            for one in re.findall(r"(?<![a-z])[a-z](?![a-z])", found[side])
        }
        if len(letters) != 1 or value is None:
            continue
        (letter,) = letters
        if given["letter"] and given["letter"] != letter:
            return Fit(-1, f"{letter} is asked for, and {given['letter']} is given")
        left = _side(found["left"], letter, value, is_left=True)
        right = _side(found["right"], letter, value, is_left=False)
        if left is None or right is None:
            continue
        if left == right:
            return Fit(1, f"{letter} = {value} solves it")
        return Fit(-1, f"{letter} = {value} does not solve it")
    return None


def _side(text: str, letter: str, value: Fraction, *, is_left: bool) -> Fraction | None:
    """One side of an equation, of which the words around it are no part."""
    words = re.split(r"(?<![a-z])[a-z]{2,}(?![a-z])|:", text)
    part = (words[-1] if is_left else words[0]).strip().rstrip(".")
    return value_of(part, {letter: value})


def _form(question: str, answer: str) -> Fit | None:
    answer = answer.strip()
    if IS_LETTER.match(answer):
        options = len(OPTIONS.findall(question))
        return Fit(1, "one of the options") if options >= 2 else Fit(-1, "a letter, and no options")
    if PROOF.search(question) and NUMBER.fullmatch(answer):
        return Fit(-1, "a number for a proof")
    if IS_YES_NO.match(answer):
        asks = YES_NO.search(question) or re.search(
            r"\bwhether\b|\?.*\b(?:is|are|does)\b", question, re.I
        )
        return Fit(1, "yes or no") if asks else Fit(-1, "yes or no was not asked")
    if YES_NO.search(question) and NUMBER.fullmatch(answer):
        return Fit(-1, "a number for yes or no")
    if HOW_MANY.search(question) and not re.search(r"\d", answer):
        return Fit(-1, "no number for how many") if " " not in answer.strip() else None
    return None


def _unit(question: str, answer: str) -> Fit | None:
    number = NUMBER.match(answer.strip())
    if number is None:
        return None
    unit_words = WORD.findall(answer.strip()[number.end() :])[:2]
    if not unit_words:
        return None
    unit = unit_words[0].casefold()
    asked = {word.casefold() for word in WORD.findall(question)}
    wanted = [word.casefold() for word in ASKED_IN.findall(question) if word.casefold() in UNITS]
    if wanted and unit in UNITS:
        kinds = {UNITS[word] for word in wanted}
        if UNITS[unit] not in kinds:
            return Fit(-1, f"{unit}, and {wanted[-1]} was asked for")
        return Fit(1, f"{unit} was asked for")
    if len(unit) > 2 and (unit in asked or unit.rstrip("s") in asked or f"{unit}s" in asked):
        return Fit(1, f"the question speaks of {unit}")
    return None


def _letters(question: str, answer: str) -> Fit | None:
    named = re.match(r"^\$?\s*([A-Za-z])\s*=", answer.strip())
    if named:
        asked = re.findall(r"(?<![^\W\d_])[A-Za-z](?![^\W\d_])", question)
        if named[1] in asked:
            return Fit(1, f"the question speaks of {named[1]}")
        return Fit(-1, f"the question does not speak of {named[1]}")
    if len(answer) > 80 or not re.search(r"\d|[-+^=*/]", answer):
        return None
    ours = set(re.findall(r"(?<![^\W\d_])[a-z](?![^\W\d_])", answer))
    theirs = set(re.findall(r"(?<![^\W\d_])[a-zA-Z](?![^\W\d_])", question))
    if ours and ours <= theirs:
        return Fit(1, f"in {', '.join(sorted(ours))} as the question is")
    if ours - theirs - LETTERS_FREE and not re.search(r"[^\W\d_]{2,}", answer):
        return Fit(-1, f"{min(ours - theirs)} is not in the question")
    return None


def _number_in(answer: str) -> str:
    """The answer without what may stand around its value: "x = 4.", "$4$", "4 km"."""
    bare = answer.strip().strip("$").strip().rstrip(".")
    bare = bare.rpartition("=")[2].strip()
    found = NUMBER.match(bare)
    rest = bare[found.end() :].strip() if found else bare
    if found and (not rest or WORD.fullmatch(rest)):
        return found[0]
    return bare


def _rounded(wanted: Fraction, given: str) -> bool:
    """Whether a decimal is the value, rounded to as many places as it has."""
    _, point, places = given.replace(",", "").partition(".")
    if not point or not places.isdigit():
        return False
    value = value_of(given)
    return value is not None and abs(wanted - value) <= Fraction(1, 2 * 10 ** len(places))


def _shown(value: Fraction) -> str:
    return str(value) if len(str(value)) < 20 else f"{float(value):.6g}"
