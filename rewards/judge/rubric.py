"""Criteria with names of fields in them, checked before anything is judged by them.

    criteria = ["Names the capital of {country}.", "Has at most three sentences."]
    check(criteria, fields={"country"})
    fill(criteria, {"country": "Peru"})         # ["Names the capital of Peru.", ...]

Only `{name}` is replaced, by the field's text as it is; "{{" and "}}" stand for the brackets.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence

PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
NAME = re.compile(r"[A-Za-z_]\w*")


def check(criteria: Sequence[str], fields: Collection[str] | None = None) -> None:
    """Refuse a rubric that refers to nothing.

    Args:
        criteria: what is to be judged, one sentence each.
        fields: names that the criteria may use; None where they are not known yet.

    Raises:
        ValueError: there are no criteria, or one is empty or names a field that is not there.
    """
    if isinstance(criteria, str):
        raise ValueError("the rubric is one text: give a list of criteria.")
    if not criteria:
        raise ValueError("the rubric is empty: give at least one criterion.")
    for number, criterion in enumerate(criteria, 1):
        if not criterion.strip():
            raise ValueError(f"criterion {number} of the rubric is empty.")
        for match in PLACEHOLDER.finditer(criterion):
            if match[0] not in ("{{", "}}"):
                _check_name(number, match, fields)


def fill(criteria: Sequence[str], fields: Mapping[str, object]) -> list[str]:
    """The criteria with the fields' values in place of their names.

    Raises:
        ValueError: as `check`, or a field's value is empty.
    """
    check(criteria, fields)

    def value(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        text = str(fields[match[1]])
        if fields[match[1]] is None or not text.strip():
            raise ValueError(f"the rubric names {{{match[1]}}}, and this field is empty.")
        return text

    return [PLACEHOLDER.sub(value, criterion) for criterion in criteria]


def _check_name(number: int, match: re.Match[str], fields: Collection[str] | None) -> None:
    name = match[1]
    if name is None or not NAME.fullmatch(name):
        raise ValueError(
            f"criterion {number} of the rubric has {match[0]!r} at character {match.start() + 1}: "
            "write {name} for a field, and {{ or }} for a bracket."
        )
    if fields is not None and name not in fields:
        close = difflib.get_close_matches(name, fields, n=1)
        known = ", ".join(sorted(fields)) or "none"
        hint = f"Did you mean {{{close[0]}}}?" if close else f"There are: {known}."
        raise ValueError(
            f"criterion {number} of the rubric names {{{name}}}, which is no field. {hint}"
        )
