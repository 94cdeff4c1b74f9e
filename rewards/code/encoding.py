"""Plain data as one line of JSON, and back: all that crosses between a program and its tests.

None, bool, int, float (inf and nan too), complex, str, bytes, bytearray, list, tuple, dict, set and
frozenset, of each other; Decimal, Fraction, range, dates and times, views of a dict; and iterators,
of which the first `MOST_ITEMS` items cross. What JSON has no form for is an object with one key
that names the type. An instance of a subclass crosses as its base, so no object with a method of
its own, a lying `__eq__` say, ever does. This file runs in the sandbox as well: it imports nothing
of ours.
"""

from __future__ import annotations

import json
import math
import sys
import types
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

MAX_DEPTH: Final = 100
SMALL: Final = 2**53
MOST_ITEMS: Final = 10_000
"""Of an iterator; one that goes on raises where these end."""
ITERATORS = (types.GeneratorType, map, zip, filter, enumerate, reversed)
VIEWS: dict[str, type[Any]] = {
    "keys": type({}.keys()),
    "values": type({}.values()),
    "items": type({}.items()),
}
WRITTEN: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "decimal": ("decimal", "Decimal", str),
    "fraction": ("fractions", "Fraction", lambda it: [hex(it.numerator), hex(it.denominator)]),
    "datetime": ("datetime", "datetime", lambda it: it.isoformat()),
    "date": ("datetime", "date", lambda it: it.isoformat()),
    "time": ("datetime", "time", lambda it: it.isoformat()),
    "timedelta": ("datetime", "timedelta", lambda it: [it.days, it.seconds, it.microseconds]),
}
"""Kind to the module and name of a type, and what is written of it; the first that fits."""


class NotPlain(TypeError):
    """A value that does not cross; the message says which type."""


def dumps(value: Any) -> str:
    """`value` as a line of JSON, without the newline.

    Raises:
        NotPlain: it holds something else.
        RecursionError: it is nested deeper than `MAX_DEPTH`.
    """
    return json.dumps(encode(value), allow_nan=False)


def loads(line: str | bytes) -> Any:
    """The value that `dumps` made the line of.

    Raises:
        ValueError: it is no such line.
    """
    return decode(parse(line))


def parse(line: str | bytes) -> Any:
    """The JSON of a line, whose types are not looked at yet.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(line, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def encode(value: Any, depth: int = 0) -> Any:
    """`value` as what `json` can write."""
    if depth > MAX_DEPTH:
        raise RecursionError(f"nested deeper than {MAX_DEPTH}")
    inner = depth + 1
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__int__(value)
        return number if -SMALL < number < SMALL else {"int": hex(number)}
    if isinstance(value, float):
        real = float.__float__(value)
        return real if math.isfinite(real) else {"float": repr(real)}
    if isinstance(value, list):
        return [encode(item, inner) for item in list.__iter__(value)]
    if isinstance(value, tuple):
        return {"tuple": [encode(item, inner) for item in tuple.__iter__(value)]}
    if isinstance(value, dict):
        pairs = dict.items(value)
        return {"dict": [[encode(key, inner), encode(item, inner)] for key, item in pairs]}
    if isinstance(value, set | frozenset):
        kind = "set" if isinstance(value, set) else "frozenset"
        return {kind: [encode(item, inner) for item in value]}
    if isinstance(value, bytes):
        return {"bytes": bytes.hex(value)}
    return _encode_rarer(value, inner)


def _encode_rarer(value: Any, inner: int) -> Any:
    """What is data too, though not of the plainest kind."""
    if isinstance(value, bytearray):
        return {"bytearray": bytes(value).hex()}
    if isinstance(value, complex):
        return {"complex": [encode(value.real), encode(value.imag)]}
    if isinstance(value, range):
        return {"range": [hex(value.start), hex(value.stop), hex(value.step)]}
    for kind, view in VIEWS.items():
        if isinstance(value, view):
            return {kind: [encode(item, inner) for item in iter(value)]}
    for kind, (module, name, write) in WRITTEN.items():
        known = getattr(sys.modules.get(module), name, None)  # whoever has one has imported it
        if isinstance(known, type) and isinstance(value, known):
            return {kind: write(value)}
    if _is_iterator(value):
        items = [encode(item, inner) for item in islice(value, MOST_ITEMS + 1)]
        return {"endless": items[:-1]} if len(items) > MOST_ITEMS else {"iterator": items}
    raise NotPlain(f"a value of type {type(value).__name__}")


def _is_iterator(value: Any) -> bool:
    """Something that only gives items; a file is more than that."""
    kind = type(value)
    of_builtin = kind.__module__ == "builtins" and kind.__name__.endswith("iterator")
    return isinstance(value, ITERATORS) or kind.__module__ == "itertools" or of_builtin


def decode(node: Any, depth: int = 0) -> Any:
    """The value of what `encode` made. Raises ValueError where it did not make it."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    inner = depth + 1
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if isinstance(node, list):
        return [decode(item, inner) for item in node]
    if not isinstance(node, dict) or len(node) != 1:
        raise ValueError("no encoded value")
    ((kind, content),) = node.items()
    if kind in ("int", "float", "bytes"):
        return _decode_text(kind, content)
    if kind in ("bytearray", "complex", "range", *WRITTEN):
        try:
            return _decode_rarer(kind, content)
        except (TypeError, ArithmeticError, AttributeError, ImportError) as error:
            raise ValueError("no encoded value") from error
    if not isinstance(content, list):
        raise ValueError("no encoded value")
    if kind in ("iterator", "endless", *VIEWS):
        return _decode_items(kind, [decode(item, inner) for item in content])
    if kind == "dict":
        return _decode_dict(content, inner)
    if kind not in ("tuple", "set", "frozenset"):
        raise ValueError("no encoded value")
    items = [decode(item, inner) for item in content]
    try:
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](items)
    except TypeError as error:
        raise ValueError("an item that no set can hold") from error


def _decode_text(kind: str, content: Any) -> Any:
    if not isinstance(content, str):
        raise ValueError("no encoded value")
    if kind == "int":
        return int(content, 16)
    return float(content) if kind == "float" else bytes.fromhex(content)


def _decode_rarer(kind: str, content: Any) -> Any:
    """Raises one of several errors where nobody encoded it."""
    if kind == "bytearray":
        return bytearray.fromhex(content)
    if kind == "complex":
        real, imaginary = (decode(part) for part in content)
        return complex(real, imaginary)
    if kind == "range":
        return range(*(int(part, 16) for part in content))
    module, name, _ = WRITTEN[kind]
    made = getattr(__import__(module), name)
    if kind == "fraction":
        above, below = (int(part, 16) for part in content)
        return made(above, below)
    if kind == "timedelta":
        return made(*content)
    return made(str.__str__(content)) if kind == "decimal" else made.fromisoformat(content)


def _decode_items(kind: str, items: list[Any]) -> Any:
    """A view or an iterator over these."""
    try:
        if kind == "keys":
            return dict.fromkeys(items).keys()
        if kind == "values":
            return dict(enumerate(items)).values()
        if kind == "items":
            return dict(items).items()
    except (TypeError, ValueError) as error:
        raise ValueError("items that no dict can have") from error
    return _endless(items) if kind == "endless" else iter(items)


def _endless(items: list[Any]) -> Iterator[Any]:
    yield from items
    raise NotPlain(f"more than {MOST_ITEMS:,} items of an iterator")


def _decode_dict(pairs: list[Any], inner: int) -> dict[Any, Any]:
    decoded = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError("no encoded value")
        key = decode(pair[0], inner)
        try:
            decoded[key] = decode(pair[1], inner)
        except TypeError as error:
            raise ValueError("a key that no dict can have") from error
    return decoded


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
