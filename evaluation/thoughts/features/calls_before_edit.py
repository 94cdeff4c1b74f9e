"""How many calls of tools come before the first one that changes something."""

from __future__ import annotations

import math

import numpy as np

from munro.evaluation.thoughts.lists import words
from munro.evaluation.thoughts.types import Array, Feature, Rows

EDITS = frozenset(words("edit_tools"))
COMMANDS = words("edit_commands")


class CallsBeforeEdit(Feature):
    """Calls before the first edit, of replies that edit."""

    title = "Calls before the first edit"
    told = "Calls of tools before the first that changes a file, on average over replies that do."

    def values(self, rows: Rows) -> Array:
        """Calls of each; NaN where nothing was edited."""
        return np.array([_before(calls) for calls in rows.calls], np.float64)


def _before(calls: object) -> float:
    assert isinstance(calls, tuple | list)
    for number, (name, arguments) in enumerate(calls):
        if name.lower() in EDITS or any(command in arguments for command in COMMANDS):
            return float(number)
    return math.nan
