"""Rows of a data set as tasks for tools: what is asked, what may be called, what is expected.

    {"prompt": "What is 2 + 3?", "tools": ["add"], "answer": "5",
     "calls": [{"name": "add", "arguments": {"a": 2, "b": 3}}]}

Only the prompt must be there. `calls` are a gold policy's, a list of calls (each a turn of its own)
or a list of turns; all other columns are there for graders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from munro.envs.data.columns import Row, is_conversation, messages_of, text_of, value_of
from munro.envs.types import Message
from munro.rewards.plugins import nearest


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what. One with its usual name may be missing."""

    prompt: str = "prompt"
    answer: str = "answer"
    tools: str = "tools"
    calls: str = "calls"
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One row, read.

    Example:
        Asked(id="3", messages=(Message(role="user", content="2 + 3?"),), answer="5")
    """

    id: str
    messages: tuple[Message, ...]
    answer: str = ""
    tools: tuple[str, ...] | None = None
    """That may be called; None where the row does not say."""
    calls: tuple[tuple[Mapping[str, Any], ...], ...] = ()
    """Turns of {name, arguments}."""
    rest: Mapping[str, Any] = field(default_factory=dict)
    """The other columns."""

    @property
    def needed(self) -> tuple[str, ...] | None:
        """Tools that it cannot do without; None where nobody knows."""
        if self.tools is None and not self.calls:
            return None
        called = (call["name"] for turn in self.calls for call in turn)
        return tuple(dict.fromkeys((*(self.tools or ()), *called)))


def read(row: Row, columns: Columns, place: str) -> Asked:
    """A row as a task.

    Args:
        row: of the file.
        columns: of it.
        place: "file:line", for what is wrong with it.

    Raises:
        ValueError: it is no task, in one sentence.
    """
    asked = value_of(row, columns.prompt, place)
    messages = (
        messages_of(asked, columns.prompt, place)
        if is_conversation(asked)
        else (Message(role="user", content=text_of(row, columns.prompt, place)),)
    )
    used = {columns.prompt, columns.answer, columns.tools, columns.calls}
    has_answer = _has(row, columns.answer, "answer")
    has_tools = _has(row, columns.tools, "tools")
    return Asked(
        id=text_of(row, columns.id, place) if columns.id else place.rpartition(":")[2],
        messages=messages,
        answer=text_of(row, columns.answer, place).strip() if has_answer else "",
        tools=tuple(_tools(row, columns.tools, place)) if has_tools else None,
        calls=tuple(_turns(row, columns.calls, place)),
        rest={name: value for name, value in row.items() if name not in used},
    )


def _has(row: Row, column: str, usual: str) -> bool:
    """Whether a row says something there; only a column of the usual name may be missing."""
    if column == usual:
        return row.get(column) not in (None, "")
    return True


def _listed(row: Row, column: str, usual: str, place: str) -> list[Any]:
    if not _has(row, column, usual):
        return []
    value = value_of(row, column, place)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = [part.strip() for part in value.split(",")] if usual == "tools" else None
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise ValueError(f"{place}: {column} must be a list, or the JSON of one.")
    return [*value]


def _tools(row: Row, column: str, place: str) -> Iterator[str]:
    for name in _listed(row, column, "tools", place):
        if not isinstance(name, str):
            raise ValueError(f"{place}: {column} must hold names of tools; it holds {name!r:.60}.")
        yield name


def _turns(row: Row, column: str, place: str) -> Iterator[tuple[Mapping[str, Any], ...]]:
    for turn in _listed(row, column, "calls", place):
        calls = turn if isinstance(turn, list | tuple) else [turn]
        yield tuple(_call(call, column, place) for call in calls)


def _call(call: Any, column: str, place: str) -> Mapping[str, Any]:
    if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
        raise ValueError(
            f"{place}: {column} must hold calls, {{name, arguments}}; it holds {call!r:.60}."
        )
    arguments = call.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{place}: arguments of {call['name']} are no JSON.") from error
    if not isinstance(arguments, Mapping):
        raise ValueError(f"{place}: arguments of {call['name']} must be a table.")
    return {"name": call["name"], "arguments": dict(arguments)}


def check_columns(columns: Mapping[str, str]) -> Columns:
    """The columns that a person named.

    Raises:
        ValueError: there is no such role.
    """
    known = [*Columns.__dataclass_fields__]
    for name, value in columns.items():
        if name not in known:
            raise ValueError(f"columns.{name}: there is no such role. {nearest(name, known)}")
        if not isinstance(value, str) or not value:
            raise ValueError(f"columns.{name} = {value!r:.40}: write the name of a column.")
    return Columns(**columns)
