"""Nested tables of another trainer's, as settings by dotted key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from munro.machine.importing.draft import Setting, Unread

REFERENCE = re.compile(r"\$\{([\w.]+)\}")
SELECTED = re.compile(r"\$\{oc\.select:([\w.]+),\s*([^${}]*)\}")
DYNAMIC = re.compile(r"\$\{|\?\?\?")


DEEPEST = 30
MOST = 10_000


def few(settings: Iterable[Setting]) -> list[Setting]:
    """All of them, unless there are more than any configuration has.

    Raises:
        ValueError: there are; YAML can say a great deal in a few lines that point at each other.
    """
    found = list(islice(settings, MOST + 1))
    if len(found) > MOST:
        raise ValueError(f"it holds more than {MOST:,} keys")
    return found


def flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[Setting]:
    """Every value below a table; lists are values, and empty tables nothing.

    Raises:
        ValueError: it is nested too deeply.
    """
    if prefix.count(".") > DEEPEST:
        raise ValueError("its tables are nested too deeply")
    for name, value in table.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{key}.")
        else:
            yield Setting(key, value)


def resolved(settings: list[Setting]) -> list[Setting]:
    """The same with references to each other's values followed; what cannot be is `Unread`."""
    known = {one.key: one.value for one in settings}
    return [Setting(one.key, _value(one.value, known, 0)) for one in settings]


def _value(value: Any, known: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(value, str) or not DYNAMIC.search(value):
        return value
    found = REFERENCE.fullmatch(value) or SELECTED.fullmatch(value)
    if found and depth < 20:
        if found[1] in known:
            return _value(known[found[1]], known, depth + 1)
        if found.re is SELECTED:
            return _plain(found[2].strip())
    return Unread(value)


def _plain(text: str) -> Any:
    if text in ("null", "None", ""):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def grouped(settings: list[Setting], tables: Mapping[str, str]) -> tuple[list[Setting], list[str]]:
    """Settings without those of whole tables that have no counterpart, and a line for each table.

    Args:
        settings: all of them.
        tables: why a table has none, by the key that it begins with.
    """
    rest, counts = [], dict.fromkeys(tables, 0)
    for one in settings:
        table = next((name for name in tables if f".{one.key}.".find(f".{name}.") >= 0), None)
        if table is None:
            rest.append(one)
        else:
            counts[table] += 1
    lines = [
        f"{name} ({count} key{'s' * (count > 1)}) -> no counterpart: {tables[name]}"
        for name, count in counts.items()
        if count
    ]
    return rest, lines
