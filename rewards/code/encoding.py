"""Plain data as one line of JSON, and back: all that crosses between a program and its tests.

None, bool, int, float (inf and nan too), str, bytes, list, tuple, dict, set and frozenset, of each
other. What JSON has no form for is an object with one key that names the type. An instance of a
subclass crosses as its base, so no object with a method of its own, a lying `__eq__` say, ever
does. This file runs in the sandbox as well: it imports nothing of ours.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

MAX_DEPTH: Final = 100
SMALL: Final = 2**53


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
    raise NotPlain(f"a value of type {type(value).__name__}")


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
    if not isinstance(content, list):
        raise ValueError("no encoded value")
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
