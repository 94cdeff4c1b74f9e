"""Where the tasks of an environment come from: drawn as they are asked for, or out of a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from munro.envs.types import Message, Task
from munro.envs.worlds.compose import World, compose
from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.making.draw import SHARES, Menu, draw, is_held_out
from munro.envs.worlds.making.folder import Built, opened
from munro.envs.worlds.rows import draw as draw_rows
from munro.envs.worlds.spec import domain
from munro.envs.worlds.state import State
from munro.envs.worlds.task import WorldTask

DOMAINS = ("shop", "library", "bank", "clinic")
"""Unless others are named."""
LEVEL_1 = Menu(
    shares={"read": 0.25, "write": 0.25, "chain": 0.25, "no_tool": 0.25},
    is_terse=True,
    questions=("say",),
)
ROWS_TRIED = 60
"""Draws of rows, where nothing can be asked of the first ones that belongs to the split."""
TRIES = 60
"""Draws of a task on the same rows."""
TASKS_PER_WORLD = 16
"""Tasks about the same rows."""


class Source(Protocol):
    """Hands out tasks, and the world of each."""

    def size(self, split: str) -> int:
        """Tasks of a split."""
        ...

    def task(self, split: str, place: int) -> Task:
        """One of them."""
        ...

    def scene(self, task: Task) -> tuple[World, State, WorldTask]:
        """Its world, its rows (to be copied, never changed), and what it is."""
        ...


class Drawn:
    """Tasks that are drawn and proven as they are asked for: each a function of seed and place."""

    def __init__(
        self,
        *,
        domains: Sequence[str],
        level: int,
        kinds: Mapping[str, float] | None,
        num_tools: int,
        size: float,
        num_tasks: int,
        seed: int,
    ) -> None:
        """
        Raises:
            ValueError: nothing could be drawn of it.
        """
        if level not in (0, 1):
            raise ValueError(f"level = {level!r}: there is 1, and 0 for worlds of any size.")
        if level and (domains or kinds or num_tools):
            raise ValueError("level = 1 has its domain, kinds and tools: leave them out.")
        if num_tasks < 10 or not 0 < size <= 100 or num_tools < 0:
            raise ValueError(
                "num_tasks must be at least 10, size above 0 and up to 100, tools >= 0."
            )
        self._menu = LEVEL_1 if level else Menu(shares=kinds or SHARES, num_tools=num_tools)
        if not self._menu.shares or any(not share > 0 for share in self._menu.shares.values()):
            raise ValueError(f"kinds = {kinds!r}: give each kind a share above 0.")
        self._menu.kinds()
        names = ("stall",) if level else tuple(domains) or DOMAINS
        self._world = composed(names)
        self._size, self._num, self._seed = size, num_tasks, seed
        self._rows = lru_cache(maxsize=64)(self._drawn_rows)

    def size(self, split: str) -> int:
        """See `Source`."""
        return self._num if split == "train" else self._num // 10

    def task(self, split: str, place: int) -> Task:
        """See `Source`."""
        shared = place if self._menu.is_terse else place // TASKS_PER_WORLD
        for number in range(ROWS_TRIED):
            rows = f"{self._seed}/{split}/{shared}/{number}"
            try:
                asked = draw(
                    self._world,
                    self._rows(rows),
                    self._menu,
                    seed=f"{self._seed}/{split}/{place}",
                    wanted=lambda one: is_held_out(one.ask) == (split == "test"),
                    tries=TRIES,
                )
            except BadWorld:
                continue
            name = f"{split}-{place}"
            return as_task(name, self._world, asked, rows, is_terse=self._menu.is_terse)
        raise BadWorld(
            f"no task of the kinds {', '.join(self._menu.shares)} can be drawn of the domains "
            f"{', '.join(self._world.domains)}: name others"
        )

    def scene(self, task: Task) -> tuple[World, State, WorldTask]:
        """See `Source`."""
        return self._world, self._rows(task.payload["rows"]), WorldTask.of(task.payload["task"])

    def _drawn_rows(self, seed: str) -> State:
        return State.of(self._world, draw_rows(self._world, seed=seed, size=self._size))


class Folder:
    """Tasks that `munro world build` wrote."""

    def __init__(self, path: str) -> None:
        """
        Raises:
            BadWorld: there is no such folder, or it is none.
        """
        self._built: Built = opened(Path(path).expanduser())

    def size(self, split: str) -> int:
        """See `Source`."""
        return len(self._built.split(split))

    def task(self, split: str, place: int) -> Task:
        """See `Source`."""
        name, rows, asked = self._built.split(split)[place]
        return as_task(name, self._built.world(rows), asked, rows)

    def scene(self, task: Task) -> tuple[World, State, WorldTask]:
        """See `Source`."""
        rows = task.payload["rows"]
        return self._built.world(rows), self._built.rows(rows), WorldTask.of(task.payload["task"])


def as_task(
    name: str, world: World, asked: WorldTask, rows: str, *, is_terse: bool = False
) -> Task:
    """A task as an environment hands it out."""
    system = () if is_terse else (Message(role="system", content=world.policy(asked.tools)),)
    payload: dict[str, Any] = {"task": asked.as_data(), "rows": rows}
    return Task(
        id=name,
        messages=(*system, Message(role="user", content=asked.ask)),
        tools=tuple(world.schemas[each] for each in asked.tools),
        payload=payload | ({"terse": True} if is_terse else {}),
        # tasks about the same rows have their luck in common
        labels={"kind": asked.kind, "cluster": rows},
    )


def composed(names: Sequence[str]) -> World:
    """The world of these domains, each a name or a file.

    Raises:
        BadWorld: there is none of a name, or they do not go together.
    """
    places = [re.sub(r"\W", "_", Path(name).stem).lower() for name in names]
    if len(set(places)) < len(places):
        raise BadWorld(f"the domains {', '.join(names)} name one twice")
    return compose({place: domain(name) for place, name in zip(places, names, strict=True)})
