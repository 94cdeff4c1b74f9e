"""A rubric as sub-tasks: names, and for each the criteria that it is graded by.

    subtasks = { finds = "Finds the cause before it edits.", mends = ["Edits {path}.", "Runs the tests."] }
    subtasks = ["Finds the cause.", "Mends it."]            # subtask_1, subtask_2
    subtasks = "1. Finds the cause.\\n2. Mends it."           # each line of a list

Fields of an item may stand in criteria, as in a judge's rubric.
"""  # noqa: E501 - as one writes it

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from munro.rewards.judge import rubric

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,47}")
LINE = re.compile(r"^\s{0,8}(?:[-*+\u2022]|\(?\d{1,3}[.):])\s+(\S.*)$")
NOT_ONE = (
    "has no sub-tasks: give a list of sentences, names with sentences, or a text with one line for "
    "each that begins with '- ' or '1. '"
)


def subtasks_of(given: Any) -> dict[str, list[str]]:
    """Criteria by the name of their sub-task, in order.

    Raises:
        ValueError: there are none, or one is wrong; names it.
    """
    if isinstance(given, str):
        given = [match[1].strip() for line in given.splitlines() if (match := LINE.match(line))]
    if isinstance(given, Mapping):
        named = dict(given)
    elif isinstance(given, list | tuple):
        named = {f"subtask_{number}": each for number, each in enumerate(given, 1)}
    else:
        raise ValueError(f"the rubric {NOT_ONE}")
    if not named:
        raise ValueError(f"the rubric {NOT_ONE}")
    found: dict[str, list[str]] = {}
    for name, criteria in named.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"the sub-task {name!r:.60}: use letters, digits and '_' for its name")
        criteria = [criteria] if isinstance(criteria, str) else criteria
        if not isinstance(criteria, list | tuple) or not all(isinstance(c, str) for c in criteria):
            raise ValueError(f"the sub-task {name!r} is no sentence, and no list of sentences")
        try:
            rubric.check(criteria)
        except ValueError as error:
            raise ValueError(f"the sub-task {name!r}: {error}") from None
        found[name] = list(criteria)
    return found


def filled(subtasks: Mapping[str, list[str]], fields: Mapping[str, object]) -> dict[str, list[str]]:
    """The same with fields' values in place of their names.

    Raises:
        ValueError: a criterion names a field that is not there, or an empty one.
    """
    found = {}
    for name, criteria in subtasks.items():
        try:
            found[name] = rubric.fill(criteria, fields)
        except ValueError as error:
            raise ValueError(f"the sub-task {name!r}: {error}") from None
    return found
