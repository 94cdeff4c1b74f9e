"""Where a script's rows come from: `load_dataset(...)` and what is done to it after."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from munro.machine.importing.draft import Unread
from munro.machine.importing.script import Script, argument, called

FILES = ("json", "csv", "parquet")
FROM = {"from_json": 0, "from_csv": 0, "from_parquet": 0}
KEPT = ("shuffle", "flatten_indices", "with_format")
"""What changes no row; ours are drawn in an order of their own."""


@dataclass(slots=True)
class Rows:
    """A data set, as arguments of an environment, and what was done to it."""

    args: dict[str, Any]
    done: list[str] = field(default_factory=list)
    """Calls that change rows, as they are written."""


def rows_of(script: Script, node: ast.expr, line: int, depth: int = 0) -> Rows | Unread:
    """The rows that an expression stands for.

    Args:
        script: that it is from.
        node: the expression.
        line: where it is used: names are looked up before it.
        depth: of names and calls so far.
    """
    if depth > 50:
        return script.unread(node)
    if isinstance(node, ast.Name):
        value = script.set_before(node.id, line)
        if value is None:
            return script.unread(node)
        return rows_of(script, value, value.lineno, depth + 1)
    if isinstance(node, ast.Subscript):
        found, split = rows_of(script, node.value, line, depth + 1), script.value(node.slice)
        if isinstance(found, Rows) and isinstance(split, str):
            if isinstance(files := found.args.pop("files", None), dict) and split in files:
                found.args["path"] = files[split]
            elif "path" in found.args and "split" not in found.args:
                found.args["split"] = split
            return found
        return script.unread(node)
    if not isinstance(node, ast.Call):
        return script.unread(node)
    if called(node) == "load_dataset":
        return _loaded(script, node)
    if called(node) in FROM:
        path = argument(node, "path_or_paths", 0)
        value = script.value(path) if path is not None else None
        return Rows({"path": value}) if isinstance(value, str) else script.unread(node)
    if isinstance(node.func, ast.Attribute):
        found = rows_of(script, node.func.value, line, depth + 1)
        if isinstance(found, Rows) and called(node) not in KEPT:
            words = ", ".join(script.shown(one) for one in [*node.args, *node.keywords])
            found.done.append(f"{called(node)}({words[:40]}{'...' * (len(words) > 40)})")
        return found
    return script.unread(node)


def _loaded(script: Script, call: ast.Call) -> Rows | Unread:
    given = {
        name: script.value(node)
        for place, name in enumerate(("path", "name", "data_dir", "data_files", "split"))
        if (node := argument(call, name, place)) is not None
    }
    if any(isinstance(one, Unread) for one in given.values()) or "path" not in given:
        return script.unread(call)
    files = given.get("data_files")
    if given["path"] in FILES and files:
        split = str(given.get("split", "train")).partition("[")[0]
        if isinstance(files, dict):
            chosen = files.get(split) if "split" in given else None
            rest = {} if chosen else {"files": files, "path": files.get("train", "")}
            return Rows({"path": chosen} if chosen else rest)
        files = files[0] if isinstance(files, list) and len(files) == 1 else files
        return Rows({"path": files}) if isinstance(files, str) else script.unread(call)
    args = {"path": given["path"]}
    if given.get("name"):
        args["subset"] = given["name"]
    if given.get("split"):
        args["split"] = given["split"]
    return Rows(args)
