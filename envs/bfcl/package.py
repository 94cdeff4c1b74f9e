"""The tasks and the descriptions of tools that the package `bfcl-eval` ships."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from munro.envs.bfcl.apis import MODULES, ROOM
from munro.envs.bfcl.schemas import tool_of
from munro.rewards.plugins import nearest

VERSION = "2026.3.23"
"""Of the package, that this was written and run against."""
INSTALL = f"pip install --no-deps bfcl-eval=={VERSION}"
CALLED = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param")
LONG = "multi_turn_long_context"
CONVERSATIONS = (*CALLED, LONG)
MATCHED = (
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
)
"""Categories of one turn, with the calls that are right."""
RESTRAINT = ("irrelevance", "live_irrelevance")
"""Categories of one turn in which no call is right."""
CATEGORIES = (*CONVERSATIONS, *MATCHED, *RESTRAINT)

Row = Mapping[str, Any]


class BadPackage(ValueError):
    """The package is not there, or is not the one; one line that says how to mend it."""

    is_sentence = True


class Package:
    """The package's files, read as data; its code runs in `apis` alone."""

    def __init__(self, data: str = "") -> None:
        """
        Args:
            data: the package's folder, or the one that it was installed into; where Python finds it
                unless given.

        Raises:
            BadPackage: it is not there.
        """
        self._folder = _found(data)

    @property
    def home(self) -> str:
        """The folder that the package lies in."""
        return str(self._folder.parent)

    def rows(self, category: str) -> list[Row]:
        """Tasks of a category, each with its `ground_truth` where there is one.

        Raises:
            BadPackage: they are not there, or not to be read.
        """
        rows = self._read(f"BFCL_v4_{category}.json")
        if category in RESTRAINT:
            return rows
        gold = {row["id"]: row for row in self._read(f"possible_answer/BFCL_v4_{category}.json")}
        if missing := [row["id"] for row in rows if row["id"] not in gold]:
            raise BadPackage(f"{self._folder}: {missing[0]} has no answer. {_mend()}")
        return [{**row, "ground_truth": gold[row["id"]]["ground_truth"]} for row in rows]

    @cached_property
    def tools(self) -> dict[str, dict[str, Row]]:
        """By the mock interface's class, its tools' descriptions by name."""
        return {
            name: {tool["name"]: tool for tool in self._read(f"multi_turn_func_doc/{file}.json")}
            for name, file in MODULES.items()
        }

    @cached_property
    def shown(self) -> dict[str, dict[str, Any]]:
        """By name, all those tools as models are shown them: one table for all tasks."""
        return {name: tool_of(tool) for each in self.tools.values() for name, tool in each.items()}

    def _read(self, name: str) -> list[Row]:
        file = self._folder / "data" / name
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
            return [json.loads(line) for line in lines if line.strip()]
        except FileNotFoundError as error:
            raise BadPackage(f"{file} is not there. {_mend()}") from error
        except (OSError, ValueError) as error:
            raise BadPackage(f"{file} cannot be read ({error}). {_mend()}") from error


def _found(data: str) -> Path:
    if data:
        given = Path(data).expanduser()
        for folder in (given / "bfcl_eval", given, given.parent):
            if folder.name == "bfcl_eval" and _is_whole(folder):
                return folder.resolve()
        raise BadPackage(
            f"data = {data!r}: no package bfcl_eval is there. {INSTALL} --target FOLDER makes one: "
            "give that folder."
        )
    spec = importlib.util.find_spec("bfcl_eval")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if _is_whole(Path(place)):
            return Path(place).resolve()
    raise BadPackage(
        f"the tasks are in the package bfcl-eval, which is not installed: {INSTALL}, or say where "
        "it is: data = FOLDER"
    )


def _is_whole(folder: Path) -> bool:
    code = folder.parent.joinpath(*ROOM.split("."))
    return (folder / "data").is_dir() and code.is_dir()


def _mend() -> str:
    return f"This reads version {VERSION}: {INSTALL}"


def names_of(categories: Sequence[str]) -> tuple[str, ...]:
    """Categories as they were asked for; all of them unless any is.

    Raises:
        ValueError: there is none of a name.
    """
    for name in categories:
        if name not in CATEGORIES:
            raise ValueError(f"categories: there is no {name!r}. {nearest(str(name), CATEGORIES)}")
    return tuple(dict.fromkeys(categories)) or CATEGORIES
