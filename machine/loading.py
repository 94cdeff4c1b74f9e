"""From a TOML file and overrides on the command line to a checked config; errors are sentences."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from munro.distill.config import DistillConfig
from munro.machine import other_trainers
from munro.machine.config import RestartConfig, RunConfig
from munro.machine.errors import BadConfig
from munro.machine.recipes import recipe_file, refuse_another_kind
from munro.machine.remote import refuse_stores

__all__ = ["BadConfig", "check", "check_as", "load", "load_as", "overrides_of", "page"]

Tree = TypeVar("Tree", bound=BaseModel)

DISTILL_KEYS = DistillConfig.model_fields.keys()


def load(path: str, overrides: Sequence[tuple[str, str]] = ()) -> RunConfig:
    """Read a recipe.

    Args:
        path: of a TOML file, or the name of a recipe that comes with Munro.
        overrides: (dotted key, value as written) pairs, later ones win. A value is TOML where it
            parses as such, else the bare text.

    Raises:
        BadConfig: the file or a key is wrong.
    """
    return load_as(RunConfig, path, overrides)


def load_with(path: str, values: Mapping[str, Any]) -> RunConfig:
    """As `load`, for overrides that are Python's values: dotted keys, or tables as dicts.

    A dict's keys replace those of the recipe's table one by one, but an environment is replaced
    whole.
    """
    return _load_as(RunConfig, path, list(_flat(values)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and name != "env":
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, str(value) if isinstance(value, Path) else value


def load_as(tree: type[Tree], path: str, overrides: Sequence[tuple[str, str]] = ()) -> Tree:
    """As `load`, for a config tree other than a run's."""
    return _load_as(tree, path, [(key, value_of(text)) for key, text in overrides])


def _load_as(tree: type[Tree], path: str, values: Sequence[tuple[str, Any]]) -> Tree:
    read = read_toml(path, tree)
    raw = dict(read)
    try:
        for key, value in values:
            _set(raw, key, value)
        return check_as(tree, raw, source=path)
    except BadConfig:
        refuse_another_kind(read, tree, path)
        raise


def from_overrides(overrides: Sequence[tuple[str, str]]) -> RunConfig:
    """A config from dotted keys alone, as `load` without a file."""
    return from_overrides_as(RunConfig, overrides)


def from_overrides_as(tree: type[Tree], overrides: Sequence[tuple[str, str]]) -> Tree:
    """As `from_overrides`, for a config tree other than a run's."""
    raw: dict[str, Any] = {}
    for key, value in overrides:
        override(raw, key, value)
    return check_as(tree, raw, source="command line")


def check(raw: Mapping[str, Any], *, source: str) -> RunConfig:
    """Validate a raw tree; `source` names it in the error."""
    return check_as(RunConfig, raw, source=source)


def check_as(tree: type[Tree], raw: Mapping[str, Any], *, source: str) -> Tree:
    """Validate a raw tree of any kind; `source` names it in the error."""
    try:
        config = tree.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadConfig(f"{source}: {_sentence(first, tree)}") from error
    refuse_stores(config, source=source)
    return config


def read_toml(path: str, tree: type[BaseModel] | None = None) -> dict[str, Any]:
    """A TOML file as it stands.

    Args:
        path: as `recipe_file` takes it.
        tree: that is wanted, for what is said where there is no such file.

    Raises:
        BadConfig: it is missing, unreadable or not TOML.
    """
    file = recipe_file(path, tree)
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"cannot read {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{path} is not valid TOML: {error}") from error


def override(raw: dict[str, Any], key: str, text: str) -> None:
    """Set a dotted key of a raw tree; `text` as `value_of` reads it.

    Raises:
        BadConfig: something on the way is not a table.
    """
    _set(raw, key, value_of(text))


def _set(raw: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node = raw
    for name in parents:
        child = node.get(name)
        if name == "env" and not isinstance(child, dict):
            # another environment replaces what the recipe says, its weight and arguments too
            child = {"path": child} if isinstance(child, str) and key != "env.path" else {}
        elif not isinstance(child, dict | None):
            raise BadConfig(f"--{key}: {name} is not a table in the recipe")
        node[name] = child = {} if child is None or key == "env.path" else child
        node = child
    node[last] = value


def value_of(text: str) -> Any:
    """TOML where the text parses as such, else the bare text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _sentence(error: Mapping[str, Any], tree: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in error["loc"] if not isinstance(part, int))
    if error["type"] == "extra_forbidden":
        known = other_trainers.answer(where, error["input"]) if tree is RunConfig else None
        return known or f"unknown key {where}{_nearest(error['loc'], tree)}"
    if error["type"] == "missing":
        return f"{where} is not set, and has no default"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return message
    return f"{where} = {error['input']!r}: {message[0].lower()}{message[1:]}"


def _nearest(where: Sequence[str | int], tree: type[BaseModel]) -> str:
    names = [str(part) for part in where if not isinstance(part, int)]
    model = model_at(names[:-1], tree)
    if model is None:
        return ""
    elsewhere = [key for key in all_keys(tree) if key.split(".")[-1] == names[-1]]
    if elsewhere:
        return f". Did you mean {elsewhere[0]}?"
    near = difflib.get_close_matches(names[-1], model.model_fields, 1, cutoff=0.6)
    if near:
        return f". Did you mean {'.'.join([*names[:-1], near[0]])}?"
    return f". Valid here: {', '.join(sorted(model.model_fields))}"


def model_at(names: Sequence[str], tree: type[BaseModel] = RunConfig) -> type[BaseModel] | None:
    """The config class at a dotted place of the tree, or None."""
    model, rest = tree, list(names)
    while rest:
        name = rest.pop(0)
        if name not in model.model_fields:
            return None
        kinds = [model.model_fields[name].annotation]
        if get_origin(kinds[0]) is dict and rest:
            rest.pop(0)  # tables that a person names
        kinds += get_args(kinds[0])
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not inner:
            return None
        model = inner[0]
    return model


def all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key below `model`."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        parts = get_args(field.annotation)
        # of a table that may be left out, what it is when it is there
        inner = parts[0] if len(parts) == 2 and parts[1] is type(None) else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += all_keys(inner, f"{prefix}{name}.")
    return keys


def page(config: BaseModel, indent: str = "", root: BaseModel | None = None) -> str:
    """The resolved tree on a page: key, value, and what the key means.

    Args:
        config: the tree, or a table of it.
        indent: of its lines.
        root: the whole tree, where `config` is a table.
    """
    lines, root = list[str](), root or config
    for name, field in type(config).model_fields.items():
        if name == "base" and isinstance(config, RunConfig) and config.model.path:
            continue  # no base is built where a model is given
        if isinstance(config, RestartConfig) and name in DISTILL_KEYS and not _distils(config):
            continue  # how matters once it is said when
        meaning = (field.description or "").partition("\n")[0]
        if _is_idle(meaning, config, root):
            continue
        for label, value in _entries(name, getattr(config, name)):
            if isinstance(value, BaseModel):
                lines += [f"{indent}{label}:", page(value, indent + "  ", root)]
            else:
                lines.append(f"{f'{indent}{label} = {_shown(value)}':<44} {meaning}".rstrip())
    return "\n".join(lines)


ONLY_WITH = re.compile(r'With `?([\w.]+)`?(?: = "(\w+)"| above (\d+))?:')


def _is_idle(meaning: str, config: BaseModel, root: BaseModel) -> bool:
    """Whether a key says that it matters only with another one, which is off or says otherwise: of
    its own table, or of any by its whole name."""
    only = ONLY_WITH.match(meaning)
    if only is None:
        return False
    value: Any = root if "." in only[1] else config
    for name in only[1].split("."):
        value = getattr(value, name, True)
    if only[3]:
        return int(value) <= int(only[3])
    return str(value) != only[2] if only[2] else not value


def _distils(config: RestartConfig) -> bool:
    """Whether anything but a person's wish can set a distillation off."""
    return bool(config.every or set(config.on) - {"new_base"})


def _entries(name: str, value: Any) -> list[tuple[str, Any]]:
    """A key with its value, or one for each of several tables."""
    if isinstance(value, tuple) and any(isinstance(one, BaseModel) for one in value):
        return [(name, one) for one in value]
    if isinstance(value, dict) and any(isinstance(one, BaseModel) for one in value.values()):
        return [(f"{name}.{key}", one) for key, one in value.items()]
    return [(name, value)]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(one) for one in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def overrides_of(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """`--a.b 1 --c=2` as [("a.b", "1"), ("c", "2")].

    Raises:
        BadConfig: a word is neither an option nor the value of one.
    """
    pairs: list[tuple[str, str]] = []
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        if not option.startswith("--"):
            if pairs and _is_open(pairs[-1][1]):
                key, whole = pairs[-1][0], " ".join([pairs[-1][1], *_until_closed(option, rest)])
                raise BadConfig(f"put quotes around the whole value: --{key} '{whole}'")
            raise BadConfig(f"{option!r} is not an option: write --key value, or --table.key value")
        key, equals, value = option.removeprefix("--").partition("=")
        if not equals:
            if not rest or (rest[0].startswith("--") and "." in rest[0]):
                raise BadConfig(f"--{key} has no value")
            value = rest.pop(0)
        pairs.append((key.replace("-", "_"), value))
    return pairs


def _is_open(value: str) -> bool:
    """Whether a list or a table begins in it and does not end: the shell parted it at a space."""
    return value.count("[") > value.count("]") or value.count("{") > value.count("}")


def _until_closed(word: str, rest: Sequence[str]) -> list[str]:
    words = [word, *rest]
    ends = (at for at, each in enumerate(words) if each.endswith(("]", "}")))
    return words[: next(ends, len(words) - 1) + 1]
