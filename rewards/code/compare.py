"""Is what a program wrote, or returned, the right answer? Decided outside of the sandbox.

Nothing here evaluates, hashes by value, or takes more than about linear time, whatever it is given.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

Comparison = Literal["exact", "whitespace", "float"]

INTEGER = re.compile(rb"[-+]?[0-9]{1,4000}")
NUMBER = re.compile(rb"[-+]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][-+]?[0-9]{1,4})?")

DECIMAL = re.compile(r"[-+]?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:E[-+]?[0-9]{1,3})?")
MOST_DIGITS = 800
"""Hexadecimal ones, of a fraction: more would take long to reduce."""


def same_output(written: bytes, expected: bytes, how: Comparison, tolerance: float) -> bool:
    """Compare what went to stdout with what should have.

    Args:
        written: by the program.
        expected: by the author of the test.
        how: "exact", byte for byte; "whitespace", the same words on each line, empty lines at the
            end left out; "float", as "whitespace" but numbers need only be near.
        tolerance: for "float": absolute, and relative to the expected number where that has a point
            or an exponent. An expected whole number must be met to `tolerance`, however large.
    """
    if how == "exact":
        return written == expected
    near = (lambda a, b: _near(a, b, tolerance)) if how == "float" else bytes.__eq__
    return _same_lines(_lines(written), _lines(expected), near)


def _lines(text: bytes) -> list[list[bytes]]:
    lines = [line.split() for line in text.replace(b"\r\n", b"\n").split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _same_lines(
    written: list[list[bytes]],
    expected: list[list[bytes]],
    near: Callable[[bytes, bytes], bool],
) -> bool:
    return len(written) == len(expected) and all(
        len(ours) == len(theirs) and all(map(near, ours, theirs))
        for ours, theirs in zip(written, expected, strict=True)
    )


def _near(written: bytes, expected: bytes, tolerance: float) -> bool:
    """Equal as text, or as numbers within the tolerance."""
    if written == expected:
        return True
    if not (NUMBER.fullmatch(written) and NUMBER.fullmatch(expected)):
        return False
    if INTEGER.fullmatch(written) and INTEGER.fullmatch(expected):
        return abs(int(written) - int(expected)) <= tolerance
    ours, theirs = float(written), float(expected)
    slack = tolerance if INTEGER.fullmatch(expected) else tolerance * max(1.0, abs(theirs))
    return math.isfinite(ours) and abs(ours - theirs) <= slack


def same_value(returned: Any, expected: Any, tolerance: float = 0.0) -> bool:
    """Compare two values in the encoding of `munro.rewards.code.encoding`, before it is undone.

    As Python's `==`, save that a list equals a tuple of equal items (JSON cannot tell them apart),
    that nan equals nan, and that items of sets and keys of dicts are compared with their types.

    Args:
        returned: by the program: hostile, but parsed.
        expected: by the author of the test.
        tolerance: for floats, absolute and relative.
    """
    kind, content = _kind_of(returned)
    wanted, model = _kind_of(expected)
    if kind == wanted == "sequence":
        return len(content) == len(model) and all(
            same_value(a, b, tolerance) for a, b in zip(content, model, strict=True)
        )
    if kind == wanted == "set":
        return sorted(map(_text, content)) == sorted(map(_text, model))
    if kind == wanted == "dict":
        ours, theirs = ({_text(key): value for key, value in pairs} for pairs in (content, model))
        return ours.keys() == theirs.keys() and all(
            same_value(ours[key], theirs[key], tolerance) for key in theirs
        )
    return kind == wanted and _same_leaf(content, model, tolerance)


def _kind_of(node: Any) -> tuple[str, Any]:
    """What an encoded value is, and what it holds."""
    match node:
        case list():
            return "sequence", node
        case {"tuple": items}:
            return "sequence", items
        case {"set": items} | {"frozenset": items} | {"keys": items} | {"items": items}:
            return "set", items
        case {"dict": pairs}:
            return "dict", pairs
        case {"int": digits}:
            return "number", int(digits, 16)
        case {"float": word}:
            return "number", float(word)
        case {"decimal": str(text)} if DECIMAL.fullmatch(text):
            return "number", Fraction(text)
        case {"fraction": [str(above), str(below)]} if len(above) + len(below) <= MOST_DIGITS:
            return "number", Fraction(int(above, 16), int(below, 16) or 1)
        case {"bytes": digits}:
            return "bytes", digits
        case bool() | int() | float():
            return "number", node
        case {**rest} if rest:
            return "other", node  # compared as it is written
    return type(node).__name__, node


def _same_leaf(returned: Any, expected: Any, tolerance: float) -> bool:
    if returned == expected:
        return True
    if not (isinstance(returned, float) or isinstance(expected, float)):
        return False
    if not tolerance and isinstance(returned, Fraction) | isinstance(expected, Fraction):
        return False
    try:
        ours, theirs = float(returned), float(expected)
    except OverflowError:
        return False
    if math.isnan(theirs) or not math.isfinite(ours):
        return math.isnan(ours) and math.isnan(theirs)
    return abs(ours - theirs) <= tolerance * max(1.0, abs(theirs))


def _text(node: Any) -> str:
    return json.dumps(node, sort_keys=True)
