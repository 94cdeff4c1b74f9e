"""Are these the calls that were wanted? As a multiset: each right one is used once, in any order.

    gold   {"weather": {"city": ["Bern", "Berne"], "unit": ["", "celsius"]}}
    call   weather(city="bern")                    right: the unit may be left out
    call   weather(city="Bern", unit="kelvin")     wrong

Texts are compared without case, spaces and the punctuation by which dates and addresses differ; a
number is no text, and a truth is no number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from munro.envs.bfcl.schemas import shown_name

LOOSE = re.compile(r"[ ,./\-_*^]")
OPTIONAL = ""
"""Among the values that are right: the argument may be left out."""

Made = tuple[str, Mapping[str, Any]]
"""A call: the tool's name as it is shown, and arguments."""


def num_right(
    wanted: Sequence[Mapping[str, Any]], made: Sequence[Made], schemas: Mapping[str, Any]
) -> int:
    """How many of the wanted calls have been made, each by a call of its own.

    Args:
        wanted: by tool, for each argument the values that are right.
        made: the calls.
        schemas: by tool as it is shown, of its parameters.
    """
    right = [
        [place for place, call in enumerate(made) if is_right(one, call, schemas)] for one in wanted
    ]
    taken: dict[int, int] = {}

    def place(number: int, tried: set[int]) -> bool:
        """Find a call for this one, others making way where they can."""
        for call in right[number]:
            if call in tried:
                continue
            tried.add(call)
            if call not in taken or place(taken[call], tried):
                taken[call] = number
                return True
        return False

    return sum(place(number, set()) for number in range(len(wanted)))


def is_right(wanted: Mapping[str, Any], made: Made, schemas: Mapping[str, Any]) -> bool:
    """Whether a call is the wanted one."""
    ((tool, arguments),) = wanted.items()
    name, given = made
    if name != shown_name(tool):
        return False
    fields = schemas[name].get("properties", {})
    if any(key not in arguments or key not in fields for key in given):
        return False
    if any(key not in given for key in schemas[name].get("required", ())):
        return False
    return all(
        _accepts(options, given[key], fields[key].get("type", ""))
        if key in given
        else OPTIONAL in options
        for key, options in arguments.items()
    )


def gold_call(wanted: Mapping[str, Any], schemas: Mapping[str, Any]) -> Made:
    """The first right way to make a call."""
    ((tool, arguments),) = wanted.items()
    name = shown_name(tool)
    fields = schemas[name].get("properties", {})
    given = {key: value for key, value in _first(arguments).items() if key in fields}
    # of some that must be given, nothing is the one right value
    blank = {key: OPTIONAL for key in schemas[name].get("required", ()) if key in arguments}
    return name, {**blank, **given}


def _first(options: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    chosen = {}
    for key, values in options.items():
        if any(value != OPTIONAL for value in values):
            chosen[key] = _written(next(value for value in values if value != OPTIONAL))
        elif not values:
            chosen[key] = []
    return chosen


def _written(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _first(value) if _is_choice(value) else dict(value)
    return [_written(item) for item in value] if isinstance(value, list) else value


def _is_choice(value: Mapping[str, Any]) -> bool:
    return all(isinstance(options, list) for options in value.values())


def _accepts(options: Sequence[Any], value: Any, kind: str = "") -> bool:
    if kind == "integer" and isinstance(value, float):
        options = [option for option in options if isinstance(option, float)]
    return any(_is_same(option, value) for option in options)


def _is_same(right: Any, value: Any) -> bool:
    if isinstance(right, bool) or isinstance(value, bool):
        return right is value
    if isinstance(right, int | float):
        return isinstance(value, int | float) and value == right
    if isinstance(right, str):
        return isinstance(value, str) and _squeezed(value) == _squeezed(right)
    if isinstance(right, list):
        return (
            isinstance(value, list)
            and len(value) == len(right)
            and all(map(_is_same, right, value))
        )
    if isinstance(right, Mapping):
        return isinstance(value, Mapping) and _is_same_table(right, value)
    return right is value


def _is_same_table(right: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    if not _is_choice(right):
        return right.keys() == value.keys() and all(
            _is_same(right[key], value[key]) for key in right
        )
    return value.keys() <= right.keys() and all(
        _accepts(options, value[key]) or _is_same(options, value[key])
        if key in value
        else OPTIONAL in options
        for key, options in right.items()
    )


def _squeezed(text: str) -> str:
    return LOOSE.sub("", text).lower().replace("'", '"')
