"""Rows of published data sets whose columns mean something else by name, as rows of ours.

AdvancedIF    conversation_history (JSON: [{role, content}]), prompt_metadata (JSON, with
              rubrics), benchmark_name  ->  messages, criteria, labels
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from munro.envs.data.columns import Row

ADVANCED_IF = ("conversation_history", "prompt_metadata")
RUBRICS = "rubrics"


def as_ours(row: Row, place: str) -> Row:
    """The row as it is, or with our columns in place of those of a data set that it is known by.

    Raises:
        ValueError: it is of a known data set, and unusable: which row, and why.
    """
    if isinstance(row, Mapping) and all(name in row for name in ADVANCED_IF):
        return _advanced_if(row, place)
    return row


def _advanced_if(row: Row, place: str) -> Row:
    """A conversation, and the criteria that a reply must all meet."""
    history, metadata = (_json(row[name], name, place) for name in ADVANCED_IF)
    if not isinstance(metadata, Mapping) or RUBRICS not in metadata:
        raise ValueError(f"{place}: prompt_metadata holds no {RUBRICS!r}, so nothing to judge by.")
    rubrics = _json(metadata[RUBRICS], f"prompt_metadata.{RUBRICS}", place)
    if not isinstance(rubrics, list) or not rubrics:
        raise ValueError(f"{place}: prompt_metadata.{RUBRICS} must be a list of criteria.")
    for number, text in enumerate(rubrics, 1):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(
                f"{place}: criterion {number} of prompt_metadata.{RUBRICS} is no text."
            )
    ours: dict[str, Any] = {
        "messages": history,
        # a bracket there is a bracket, and names no field
        "criteria": [text.replace("{", "{{").replace("}", "}}") for text in rubrics],
    }
    if row.get("benchmark_name"):
        ours["labels"] = {"subset": str(row["benchmark_name"])}
    return ours


def _json(value: Any, column: str, place: str) -> Any:
    """What a column holds, written as JSON or not."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: {column} is not JSON: {error}.") from error
