"""What is shown to clients: the tools of an environment's task, or of a world."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from munro.envs.base import Environment, Episode, call
from munro.envs.loader import load
from munro.envs.mcp.errors import BadServer
from munro.envs.mcp.package import require
from munro.envs.types import Answer, Message, Task, ToolCall
from munro.envs.world.source import composed
from munro.envs.worlds.compose import World
from munro.envs.worlds.rows import draw as draw_rows
from munro.envs.worlds.run import perform
from munro.envs.worlds.spec import available
from munro.envs.worlds.state import State

MOST_LOOKED_AT = 100_000
"""Tasks among which one of a name is looked for."""


class Opened(Protocol):
    """One client's own state."""

    async def call(self, tool: str, arguments: Any) -> tuple[str, bool]:
        """Carry out a call: what it answers, and whether that is an error."""
        ...

    async def close(self) -> None:
        """Free it."""
        ...


class Shown(Protocol):
    """Something with tools."""

    name: str
    instructions: str
    """What a client may tell its model: the rules, or what is asked."""
    tools: Sequence[Mapping[str, Any]]
    """In the OpenAI shape."""

    async def open(self) -> Opened:
        """A new state."""
        ...


def shown_of(name: str, *, task: str = "", seed: int = 0, args: Mapping[str, Any]) -> Shown:
    """What `name` names: domains of worlds ("shop", "shop,bank", "mine.toml"), or an environment.

    Args:
        name: as the person wrote it.
        task: of an environment, whose state and tools are shown; the first one unless given.
        seed: of the rows of a world.
        args: of the environment's constructor.

    Raises:
        BadServer: it has no tools, or no task of that name; or `mcp` is not installed.
        ValueError: there is nothing of that name, in a sentence.
    """
    require()
    parts = [part.strip() for part in name.split(",")]
    if all(part.endswith(".toml") or part in available() for part in parts):
        if task or args:
            raise BadServer(f"{name} is a world, all of it: it takes neither a task nor arguments.")
        return WorldShown(composed(parts), name, seed)
    if len(parts) > 1:
        known = ", ".join(available())
        raise BadServer(f"{name!r}: several at once must be domains of worlds: {known}.")
    environment = load(name, **args)
    found = _task(environment, task)
    tools = found.tools or environment.tools
    if not tools:
        raise BadServer(f"{name} has no tools to show.")
    return EnvironmentShown(environment, found, tools, Path(name).stem.partition(":")[0])


class WorldShown:
    """All tools of a world, on rows that a seed draws."""

    def __init__(self, world: World, name: str, seed: int) -> None:
        self._world = world
        self._base = State.of(world, draw_rows(world, seed=f"serve/{seed}", size=1.0))
        self.name = name
        self.instructions = world.policy([*world.tools])
        self.tools: Sequence[Mapping[str, Any]] = [*world.schemas.values()]

    async def open(self) -> WorldOpened:
        """A copy of the rows."""
        return WorldOpened(self._world, self._base.copy())


class WorldOpened:
    """See `Opened`."""

    def __init__(self, world: World, state: State) -> None:
        self._world, self._state = world, state

    async def call(self, tool: str, arguments: Any) -> tuple[str, bool]:
        """See `Opened`."""
        result = perform(self._world, self._state, tool, arguments)
        return result.text, bool(result.error)

    async def close(self) -> None:
        """See `Opened`."""
        self._state.close()


class EnvironmentShown:
    """The tools of one task, on what its episode begins with."""

    def __init__(
        self,
        environment: Environment,
        task: Task,
        tools: Sequence[Mapping[str, Any]],
        name: str,
    ) -> None:
        self._environment, self._task = environment, task
        self.name, self.tools = name, tools
        self.instructions = "\n\n".join(message.content for message in task.messages)

    async def open(self) -> EpisodeOpened:
        """An episode that nobody grades."""
        return EpisodeOpened(await call(self._environment.start, self._task))


class EpisodeOpened:
    """See `Opened`."""

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        self._num_calls = 0
        self._is_over = False

    async def call(self, tool: str, arguments: Any) -> tuple[str, bool]:
        """See `Opened`."""
        if self._is_over:
            return "Error: this episode is over: begin another session", True
        wanted = ToolCall(
            id=f"call{self._num_calls:05d}", name=tool, arguments=json.dumps(arguments)
        )
        self._num_calls += 1
        said = Message(role="assistant", content="", tool_calls=(wanted,), is_sampled=True)
        seen = await call(self._episode.reply, said)
        self._is_over = seen is None or not isinstance(seen, list)
        return _told(seen or ())

    async def close(self) -> None:
        """See `Opened`."""
        await call(self._episode.close)


def _told(seen: Iterable[Message]) -> tuple[str, bool]:
    seen = [*seen]
    text = "\n".join(message.content for message in seen)
    return text, any(isinstance(one, Answer) and one.error for one in seen)


def _task(environment: Environment, name: str) -> Task:
    tasks = environment.tasks("train")
    if not name:
        first = next(iter(tasks), None)
        if first is None:
            raise BadServer(f"{environment.name} has no tasks.")
        return first
    for task in islice(tasks, MOST_LOOKED_AT):
        if task.id == name:
            return task
    raise BadServer(f"{environment.name} has no task {name!r}.")
