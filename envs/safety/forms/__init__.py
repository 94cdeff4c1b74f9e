"""Columns that safety data sets have, one file each: found by their names, or asked for by name.

A file has `COLUMNS`, which a row must have to be of its form, and a function of the file's name
from a row and its place ("file:line") to a `Case`. Data sets of yours with other columns are one
more such file, in any package (entry points of the group "munro.safety_forms") or by path.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from munro.envs.safety.cases import Case
from munro.rewards.plugins import Registry

Form = Callable[[Mapping[str, Any], str], Case]


class _Forms(Registry):
    def _in(self, name: str) -> str:
        return name


FORMS = _Forms(
    what="form of safety rows",
    group="munro.safety_forms",
    home=__name__,
    fits=inspect.isfunction,
)


def columns_of(form: Form) -> tuple[str, ...]:
    """What a row must have to be of this form."""
    return tuple(getattr(sys.modules[form.__module__], "COLUMNS", ()))


def form_of(row: Mapping[str, Any], asked: str, place: str) -> Form:
    """The form with the most columns of those that fit a row, or the one asked for.

    Raises:
        ValueError: none fits; names the columns of each.
        BadPlugin: there is none of the name asked for.
    """
    if asked:
        found = _named(asked)
        missing = [name for name in columns_of(found) if name not in row]
        if missing and not (missing == ["prompt"] and "messages" in row):
            raise ValueError(f"{place} has no column {missing[0]!r}, as the form {asked!r} has it.")
        return found
    fitting = _fitting(frozenset(map(str, row)))
    if fitting is None:
        known = "; ".join(f"{name}: {', '.join(columns)}" for name, columns in _known().items())
        raise ValueError(
            f"{place} has the columns {', '.join(map(str, row))}, which are of no form known here "
            f"({known})."
        )
    return fitting


@cache
def _fitting(columns: frozenset[str]) -> Form | None:
    """The form with the most of these columns, for the rows of a table all have the same."""
    if "messages" in columns:
        columns |= {"prompt"}
    fitting = {name: len(of) for name, of in _known().items() if columns >= {*of}}
    return _named(max(fitting, key=fitting.__getitem__)) if fitting else None


def _known() -> dict[str, tuple[str, ...]]:
    return {name: columns_of(_named(name)) for name in FORMS.names()}


@cache
def _named(name: str) -> Form:
    found: Form = FORMS.find(name)
    return found
