"""Tasks on disk, as `munro world build` writes them and anybody may read them.

FOLDER/tasks.jsonl          a task a line, with the name of its rows and of its split
FOLDER/worlds/NAME.json     the domains, and the rows of every table
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from munro.envs.worlds.compose import World, compose
from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.rows import Rows
from munro.envs.worlds.spec import checked
from munro.envs.worlds.state import State
from munro.envs.worlds.task import WorldTask

TASKS, WORLDS = "tasks.jsonl", "worlds"
Entry = tuple[str, str, WorldTask]
"""Name, name of the rows, task."""


class Built:
    """A folder that was read."""

    def __init__(self, folder: Path, entries: Mapping[str, list[Entry]]) -> None:
        self._folder, self._entries = folder, entries
        self._data = lru_cache(maxsize=64)(self._read)

    def split(self, name: str) -> list[Entry]:
        """The tasks of "train" or "test"."""
        return self._entries.get(name, [])

    def world(self, rows: str) -> World:
        """The world of some rows."""
        return self._data(rows)[0]

    def rows(self, rows: str) -> State:
        """The rows themselves; to be copied, never changed."""
        return self._data(rows)[1]

    def _read(self, rows: str) -> tuple[World, State]:
        file = self._folder / WORLDS / f"{rows}.json"
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            world = _composed(json.dumps(data["domains"]))
            return world, State.of(world, data["rows"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadWorld(f"{file} is no world: {error!r:.100}") from error


@lru_cache(maxsize=16)
def _composed(domains: str) -> World:
    return compose({name: checked(data, name) for name, data in json.loads(domains).items()})


def opened(folder: Path) -> Built:
    """The tasks of a folder.

    Raises:
        BadWorld: it holds none.
    """
    file = folder / TASKS
    if not file.is_file():
        raise BadWorld(f"{folder} holds no {TASKS}: write `munro world build --out {folder}`.")
    entries: dict[str, list[Entry]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            data = json.loads(line)
            entry = (str(data["id"]), str(data["rows"]), WorldTask.of(data["task"]))
            entries.setdefault(data["split"], []).append(entry)
        except (ValueError, KeyError, TypeError) as error:
            raise BadWorld(f"{file}:{number} is no task: {error!r:.100}") from error
    return Built(folder, entries)


def write_world(folder: Path, name: str, world: World, rows: Rows) -> None:
    """One world and its rows."""
    domains = {each: one.model_dump(mode="json") for each, one in world.domains.items()}
    (folder / WORLDS).mkdir(parents=True, exist_ok=True)
    file = folder / WORLDS / f"{name}.json"
    file.write_text(json.dumps({"domains": domains, "rows": rows}), encoding="utf-8")


def write_tasks(folder: Path, tasks: Iterable[tuple[str, str, str, WorldTask]]) -> None:
    """All tasks: name, split, name of the rows, task."""
    lines: list[dict[str, Any]] = [
        {"id": name, "split": split, "rows": rows, "task": task.as_data()}
        for name, split, rows, task in tasks
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / TASKS).write_text(text, encoding="utf-8")
