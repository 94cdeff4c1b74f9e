"""A policy that knows nothing of its task, and calls the tools all the same.

Its calls are valid: arguments are drawn from the tools' JSON schemas, texts out of the words that
the prompt and the observations hold, so that ids which a tool has brought are found again.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from munro.envs.base import Policy
from munro.envs.types import Message, Task, ToolCall

TURNS = 6
"""Turns with calls, after which it says that it is done."""
CALLS = 3
"""Calls of a turn, at most."""
MOST_WORDS = 200
DEEPEST = 4
"""Tables within tables; below, what may be left out is."""

Schema = Mapping[str, Any]


def random_caller(task: Task, done: str, *, seed: int = 0) -> Policy:
    """The policy of one episode; the same task and seed give the same draws.

    Args:
        task: whose tools it calls.
        done: its last turn.
        seed: of the draws.
    """
    rng = random.Random(f"{task.id}/{seed}")
    tools = [dict(tool.get("function", tool)) for tool in task.tools]
    asked = " ".join(message.content for message in task.messages)
    turn = 0

    def policy(seen: Sequence[Message]) -> Message | str:
        nonlocal turn
        if not tools or turn >= TURNS:
            return done
        told = " ".join([asked, *(message.content for message in seen)])
        words = list(dict.fromkeys(re.findall(r"\w+", told)))[-MOST_WORDS:] or ["a"]
        calls = tuple(
            _call(rng.choice(tools), f"call{turn:03d}{number:02d}", words, rng)
            for number in range(rng.randint(1, CALLS))
        )
        turn += 1
        return Message(role="assistant", content="", tool_calls=calls, is_sampled=True)

    return policy


def _call(
    tool: Mapping[str, Any], call_id: str, words: Sequence[str], rng: random.Random
) -> ToolCall:
    schema = tool.get("parameters") or {}
    arguments = value_of({"type": "object", **schema}, words, rng)
    return ToolCall(id=call_id, name=str(tool.get("name", "")), arguments=json.dumps(arguments))


def value_of(
    schema: Schema,
    words: Sequence[str],
    rng: random.Random,
    *,
    root: Schema | None = None,
    depth: int = 0,
) -> Any:
    """A value that a JSON schema allows, as far as types, enums, bounds and sizes go.

    Args:
        schema: of the value.
        words: what texts are made of.
        rng: draws.
        root: where `$ref` looks; the schema itself unless given.
        depth: tables around it.
    """
    root = schema if root is None else root
    schema = _followed(schema, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return rng.choice(list(schema["enum"]))
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return value_of(rng.choice(list(choices)), words, rng, root=root, depth=depth)
    kind = schema.get("type", "string")
    kind = rng.choice(kind) if isinstance(kind, list) else kind
    match kind:
        case "object":
            return _table(schema, words, rng, root, depth)
        case "array":
            return _list(schema, words, rng, root, depth)
        case "integer" | "number":
            whole = _whole(schema, words, rng)
            if whole is not None and (kind == "integer" or rng.random() < 0.7):
                return whole
            return _between(schema, rng)
        case "boolean":
            return rng.random() < 0.5
        case "null":
            return None
    return _text(schema, words, rng)


def _followed(schema: Schema, root: Schema) -> Schema:
    for _ in range(16):
        target = schema.get("$ref")
        if not isinstance(target, str) or not target.startswith("#/"):
            return schema
        found: Any = root
        for part in target[2:].split("/"):
            found = found.get(part, {}) if isinstance(found, Mapping) else {}
        schema = found
    return {}


def _table(
    schema: Schema, words: Sequence[str], rng: random.Random, root: Schema, depth: int
) -> dict[str, Any]:
    needed = set(schema.get("required", ()))
    return {
        name: value_of(field, words, rng, root=root, depth=depth + 1)
        for name, field in schema.get("properties", {}).items()
        if name in needed or (depth < DEEPEST and rng.random() < 0.5)
    }


def _list(
    schema: Schema, words: Sequence[str], rng: random.Random, root: Schema, depth: int
) -> list[Any]:
    least = int(schema.get("minItems", 0))
    most = max(least, int(schema.get("maxItems", 3)) if depth < DEEPEST else least)
    items = schema.get("items", {})
    num = rng.randint(least, min(most, least + 3))
    return [value_of(items, words, rng, root=root, depth=depth + 1) for _ in range(num)]


def _bounds(schema: Schema) -> tuple[float, float]:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        low = min(0, high - 10) if high is not None else 0
    return low, max(low, high if high is not None else low + 10)


def _whole(schema: Schema, words: Sequence[str], rng: random.Random) -> int | None:
    """A whole number within the bounds, often one of those that were read; None where none is."""
    low, high = _bounds(schema)
    first = math.floor(low) + 1 if "exclusiveMinimum" in schema else math.ceil(low)
    last = math.ceil(high) - 1 if "exclusiveMaximum" in schema else math.floor(high)
    if first > last:
        return None
    is_open = not {"maximum", "exclusiveMaximum"} & set(schema)
    read = [int(word) for word in words if word.isdecimal() and len(word) < 10]
    read = [number for number in read if first <= number and (is_open or number <= last)]
    return rng.choice(read) if read and rng.random() < 0.5 else rng.randint(first, last)


def _between(schema: Schema, rng: random.Random) -> float:
    low, high = _bounds(schema)
    return low + (high - low) * rng.uniform(0.05, 0.95)


def _text(schema: Schema, words: Sequence[str], rng: random.Random) -> str:
    text = " ".join(rng.choice(words) for _ in range(rng.choice((1, 1, 1, 2))))
    least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
    while len(text) < least:
        text += rng.choice(words)
    return text if most is None else text[: int(most)]
