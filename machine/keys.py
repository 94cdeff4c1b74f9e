"""Every key of every TOML file, on one page of Markdown: the index of the documentation's site."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from munro.machine.recipes import KINDS

NESTED = 8
"""Tables within tables that are followed."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Example:
        Key("rollout.group_size", "128", "G: attempts per task.")
    """

    name: str
    default: str
    """As TOML writes it; empty where it must be given."""
    meaning: str


def keys_of(tree: type[BaseModel], prefix: str = "", depth: int = 0) -> Iterator[Key]:
    """Every key of a config tree, dotted; of a table that a person names, below NAME."""
    for name, field in tree.model_fields.items():
        inner, many = _table(field.annotation)
        if inner is None or depth >= NESTED:
            yield Key(prefix + name, _default(field), _plain(field.description))
            continue
        middle = {"named": f"{name}.NAME.", "listed": f"{name}[]."}.get(many, f"{name}.")
        yield from keys_of(inner, prefix + middle, depth + 1)


def keys_page() -> str:
    """The page, a table for each part of each kind of file."""
    lines = [
        "# Every key",
        "",
        "Made from the config trees themselves. `munro config FILE` prints a file's own values;",
        "on the command line a key is `--rollout.group_size 16`. `NAME` is a name that you give,",
        "`[]` one of several tables.",
    ]
    for kind in KINDS:
        lines += ["", f"## munro {kind.verb}"]
        parts: dict[str, list[Key]] = {}
        for key in keys_of(kind.model):
            table = key.name.partition(".")[0] if "." in key.name else ""
            parts.setdefault(table, []).append(key)
        for table, keys in sorted(parts.items()):
            lines += ["", f"### {kind.verb}: [{table}]", ""] if table else [""]
            lines += ["| key | default | |", "|---|---|---|"]
            lines += [
                f"| `{key.name}` | {f'`{_cell(key.default)}`' if key.default else 'must be given'}"
                f" | {_cell(key.meaning)} |"
                for key in keys
            ]
    return "\n".join(lines) + "\n"


def _table(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The config class of a table, and whether there are several of it, by name or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin = get_origin(annotation)
    found = [_table(one)[0] for one in get_args(annotation)]
    models = [one for one in found if one is not None]
    if len(models) != 1:  # a choice among several is told in prose
        return None, ""
    if origin in (dict, Mapping):
        return models[0], "named"
    return models[0], "listed" if origin in (tuple, list) else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.default
    if value is PydanticUndefined:
        value = field.default_factory() if field.default_factory else None  # type: ignore[call-arg]
    return _written(value)


def _written(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{name} = {_written(one)}" for name, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return str(value) if isinstance(value, int | float) else "its own defaults"


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    # what stands in brackets of angles is no HTML, and a bar ends no cell; code keeps its words
    parts = re.split(r"(`[^`]*`)", text)
    plain = [
        part if part.startswith("`") else part.replace("<", "&lt;").replace("*", "&#42;")
        for part in parts
    ]
    return "".join(plain).replace("|", "\\|")
