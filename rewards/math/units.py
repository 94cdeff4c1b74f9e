"""Names of units and of counted things: one spelling for each, and what they multiply by."""

from __future__ import annotations

import re

UNIT_NAMES = {
    "percent": "%", "percentage": "%", "pct": "%",
    "degree": "°", "degrees": "°", "deg": "°",
    "meter": "m", "meters": "m", "metre": "m", "metres": "m",
    "centimeter": "cm", "centimeters": "cm", "centimetre": "cm", "centimetres": "cm", "cms": "cm",
    "millimeter": "mm", "millimeters": "mm", "millimetre": "mm", "millimetres": "mm",
    "kilometer": "km", "kilometers": "km", "kilometre": "km", "kilometres": "km", "kms": "km",
    "inch": "in", "inches": "in", "foot": "ft", "feet": "ft", "yard": "yd", "yards": "yd",
    "mile": "mi", "miles": "mi",
    "gram": "g", "grams": "g", "kilogram": "kg", "kilograms": "kg", "kilo": "kg", "kilos": "kg",
    "pound": "lb", "pounds": "lb", "lbs": "lb", "ounce": "oz", "ounces": "oz", "tons": "ton",
    "milligram": "mg", "milligrams": "mg",
    "second": "s", "seconds": "s", "sec": "s", "secs": "s", "minute": "min", "minutes": "min",
    "mins": "min", "hour": "h", "hours": "h", "hr": "h", "hrs": "h", "day": "d", "days": "d",
    "week": "wk", "weeks": "wk", "month": "mo", "months": "mo", "year": "yr", "years": "yr",
    "yrs": "yr",
    "dollar": "$", "dollars": "$", "usd": "$", "\\$": "$", "euro": "€", "euros": "€",
    "cents": "cent", "¢": "cent", "yuan": "元", "rupees": "rupee", "rs": "rupee",
    "liter": "L", "liters": "L", "litre": "L", "litres": "L", "l": "L",
    "milliliter": "mL", "milliliters": "mL", "millilitres": "mL", "ml": "mL",
    "gallons": "gallon", "joules": "J", "joule": "J", "newtons": "N", "newton": "N",
    "watts": "W", "watt": "W", "volts": "V", "volt": "V", "amperes": "A", "amps": "A",
    "ampere": "A", "ohms": "Ω", "ohm": "Ω", "kelvin": "K", "kelvins": "K", "units": "unit",
    "mph": "mi/h", "kmh": "km/h", "kmph": "km/h", "moles": "mol", "mole": "mol", "hertz": "Hz",
    "radians": "rad", "radian": "rad", "coulombs": "C", "coulomb": "C", "pascals": "Pa",
    "acres": "acre", "hectares": "hectare",
}  # fmt: skip
UNITS = frozenset(UNIT_NAMES.values()) | {
    "mg", "rad", "ms", "kWh", "cal", "kcal", "F", "eV", "nm", "µm", "ways", "people", "students",
    "Hz", "kHz", "MHz", "kJ", "kW", "Pa", "kPa", "mol", "mA", "keV", "MeV", "GeV", "T", "dm", "cc",
    "$/d", "points",
}  # fmt: skip
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
NO_NOUN = frozenset(
    [
        "and",
        "or",
        "by",
        "to",
        "more",
        "less",
        "than",
        "at",
        "least",
        "most",
        "not",
        "about",
        "if",
        "when",
        "where",
        "from",
        "between",
        "for",
        "any",
        "all",
        "no",
        "none",
        "is",
        "are",
        "was",
        "true",
        "false",
        "infinitely",
        "many",
        "of",
        "only",
        "either",
        "both",
        "each",
        "with",
        "without",
        "in",
        "on",
        "plus",
        "minus",
        "times",
        "then",
        "so",
        "as",
        "because",
        "since",
        "thus",
        "hence",
        "the",
        "is",
        "only",
        "odd",
        "even",
        "or",
        "else",
        "except",
        "million",
        "billion",
        "thousand",
        "hundred",
        "trillion",
        "divided",
        "over",
        "mod",
        "modulo",
    ]
)
PLAIN = re.compile(r"[A-Za-zµΩ°¢$€£¥%\u3400-\u9fff]+")


def unit_name(text: str) -> str:
    """The canonical product of a unit or noun: "square centimeters" -> "cm^2", "km/hr" -> "km/h".

    Words that name no unit are kept as they are, in small letters: `(trees)` -> "trees".
    """
    words = text.replace("\\$", "$").replace("~", " ").replace("²", "^2").replace("³", "^3")
    words = re.sub(r"\bper\b", "/", words.strip(" .()"), flags=re.IGNORECASE)
    over, slash, under = words.partition("/")
    if slash:
        return f"{_product(over)}/{_product(under)}"
    return _product(words)


def _product(text: str) -> str:
    power = 1
    names: list[str] = []
    for word in re.split(r"[\s·*.]+", text.strip()):
        bare, _, exponent = word.partition("^")
        if bare.lower() in POWERS:
            power = POWERS[bare.lower()]
            if names:
                names[-1], power = f"{names[-1]}^{power}", 1
        elif bare:
            name = UNIT_NAMES.get(bare) or UNIT_NAMES.get(bare.lower())
            name = name or (bare if bare in UNITS else bare.lower())
            exponent = exponent.strip("{}") or (str(power) if power > 1 else "")
            names.append(f"{name}^{exponent}" if exponent else name)
            power = 1
    return "*".join(names)


def is_unit(name: str) -> bool:
    """Whether a canonical name is made of units that are known, not of nouns."""
    return all(part.partition("^")[0] in UNITS for part in re.split(r"[*/]", name))


def is_noun(text: str) -> bool:
    """Whether words behind a number can name what it counts: "trees", "dollars per day"."""
    words = text.strip(" .()").replace("/", " per ").split()
    if not 1 <= len(words) <= 5:
        return False
    return all(PLAIN.fullmatch(word) and word.lower() not in NO_NOUN for word in words)
