"""Descriptions of tools as the package writes them, in the OpenAI shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPES = {"dict": "object", "float": "number", "tuple": "array"}
"""Names that JSON's schemas have other words for; "any" is left out."""
SCHEMAS = ("items", "additionalProperties")


def tool_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """A tool that a task shows. Not every family of models may write a dot in a tool's name."""
    function = {
        "name": shown_name(described["name"]),
        "description": described.get("description", ""),
        "parameters": schema_of(described["parameters"]),
    }
    return {"type": "function", "function": function}


def shown_name(name: str) -> str:
    """The name that a model calls it by."""
    return name.replace(".", "_")


def schema_of(schema: Any) -> Any:
    """A JSON schema; what the tool answers ("response") is not shown, as the package does not."""
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type":
            if value != "any":
                made[key] = TYPES.get(value, value)
        elif key == "properties" and isinstance(value, Mapping):
            made[key] = {name: schema_of(field) for name, field in value.items()}
        elif key in SCHEMAS:
            made[key] = schema_of(value)
        elif key != "optional":
            made[key] = value
    return made
