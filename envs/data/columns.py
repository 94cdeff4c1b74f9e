"""What a column of a row holds: texts, numbers, conversations; and what is none of them.

    question = "prompt"                    a text, or a conversation [{role, content}, ...]
    answer = "reward_model.ground_truth"   a dotted name goes into an object

Tables of the field hold lists and objects where others hold texts (DAPO and verl: `prompt` is a
conversation, `reward_model` an object; ORZ: a list of {from, value}). Nothing here is ever turned
into its Python text: it is read, or refused with what would do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from munro.envs.types import Message
from munro.rewards.plugins import nearest

Row = Mapping[str, Any]

ROLES = ("system", "developer", "user", "assistant")
SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
            "model": "assistant", "chatgpt": "assistant", "bot": "assistant", "system": "system",
            "developer": "developer"}  # fmt: skip
"""Roles by their names in tables with {from, value}."""
MISSING = object()


def top(column: str) -> str:
    """The column of the table that a dotted name goes into."""
    return column.partition(".")[0]


def value_of(row: Row, column: str, place: str) -> Any:
    """What a column holds; a column of that very name comes before a dotted way into objects.

    Raises:
        ValueError: there is none, in a sentence with the nearest name.
    """
    value = has(row, column)
    if value is not MISSING:
        return value
    found: Any = row
    for depth, part in enumerate(column.split(".")):
        value = _inside(found, part)
        if value is MISSING:
            into = ".".join(column.split(".")[:depth])
            names = [f"{into}.{name}" if into else str(name) for name in _names(found)]
            break
        found = value
    raise ValueError(f"{place} {lacks(column, names)}")


def has(row: Row, column: str) -> Any:
    """What a column holds, as `value_of` finds it; MISSING where there is none."""
    if column in row:
        return row[column]
    found: Any = row
    for part in column.split("."):
        found = _inside(found, part)
    return found


def lacks(column: str, names: Sequence[str]) -> str:
    """That there is no such column, which one it may be, and which there are."""
    hint = nearest(column, names)
    return f"has no column {column!r}. {hint}" + (
        f" {it_has(names)}" if hint.startswith("Did") else ""
    )


def it_has(names: Iterable[Any]) -> str:
    """Which columns there are; the first twelve of them."""
    there = [str(name) for name in names]
    more = ", ..." if len(there) > 12 else ""
    return f"It has: {', '.join(there[:12])}{more}." if there else "It has none."


def text_of(row: Row, column: str, place: str) -> str:
    """A text, or a number as it is written; for what a task asks, expects, or is called.

    Raises:
        ValueError: it is missing, empty, not a number, or something that is no text.
    """
    value = value_of(row, column, place)
    if value is None:
        raise ValueError(f"{place}: the {column} is empty.")
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        raise ValueError(f"{place}: {column} = {value} is no answer and no text: mend the row.")
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(
            f"{place}: {column} = {_shown(value)}, which is no text. {_way(value, column)}"
        )
    text = str(value)
    if not text.strip():
        raise ValueError(f"{place}: the {column} is empty.")
    return unbroken(text, column, place)


def messages_of(value: Any, column: str, place: str) -> tuple[Message, ...]:
    """A conversation, of {role, content} or of {from, value}, that ends in something to answer.

    Raises:
        ValueError: it is none.
    """
    found = []
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else (None,)
    for item in items:
        message = _message(item)
        if message is None:
            raise ValueError(
                f"{place}: {column} must be a list of {{role, content}}, the role one of "
                f"{', '.join(ROLES)}, or of {{from, value}}; it holds {_shown(item)}."
            )
        unbroken(message.content, column, place)
        found.append(message)
    if not found or not found[-1].content.strip() or found[-1].role == "assistant":
        raise ValueError(f"{place}: {column} must end in something to answer.")
    return tuple(found)


def is_conversation(value: Any) -> bool:
    """Is it meant as one: a list of objects?"""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def unbroken(text: str, column: str, place: str) -> str:
    """The same text.

    Raises:
        ValueError: it holds half a surrogate pair, which no tokenizer and no file takes.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{place}: the {column} holds half a surrogate pair (character {error.start + 1}), "
            "which is no text: mend the row."
        ) from error
    return text


def _inside(found: Any, part: str) -> Any:
    """What an object has under a name, or a list at a place ("messages.0.content")."""
    if isinstance(found, list | tuple) and part.isdecimal() and int(part) < len(found):
        return found[int(part)]
    return found.get(part, MISSING) if isinstance(found, Mapping) else MISSING


def _message(item: Any) -> Message | None:
    if not isinstance(item, Mapping):
        return None
    role, content = item.get("role"), item.get("content")
    if "from" in item and "value" in item:
        role, content = SPEAKERS.get(str(item["from"]).lower()), item["value"]
    if role not in ROLES or not isinstance(content, str):
        return None
    return Message(role=role, content=content)


def _names(found: Any) -> list[str]:
    return [str(name) for name in found] if isinstance(found, Mapping) else []


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=repr)
    except (ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _way(value: Any, column: str) -> str:
    """What would do in place of it."""
    if isinstance(value, Mapping):
        inside = [name for name in _names(value) if isinstance(value[name], str | int | float)]
        if inside:
            return f"Name what is inside it, as in {column}.{_likeliest(inside)}."
        return "Give a column of texts."
    if is_conversation(value):
        return "A conversation can be asked, as the question; it is no reference answer or id."
    if isinstance(value, bool):
        return 'Write what a reply should say, such as "yes".'
    return "Give a column of texts, one for each row."


def _likeliest(names: Sequence[str]) -> str:
    wanted = ("ground_truth", "answer", "target", "value", "content", "text")
    return next((name for name in wanted if name in names), names[0])
