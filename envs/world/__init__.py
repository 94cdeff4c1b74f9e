"""Tasks in worlds of tools, graded by what is true at the end.

prompt   price rumo?
reply    <tool_call>{"name": "price", "arguments": {"name": "rumo"}}</tool_call>
         7                       (what the tool answers)
         Answer: 7
grade    passed: the rows are as they should be, the answer is right, and it had been looked up

The tasks are made as they are drawn, each proven before anybody sees it; or they come out of a
folder that `munro world build` wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from munro.envs.base import Environment, Episode
from munro.envs.budget import Budget
from munro.envs.thoughts import without_thoughts
from munro.envs.tool_use import parse_calls, strict_json
from munro.envs.types import Answer, Message, Task, ToolCall, Trajectory
from munro.envs.world.source import Drawn, Folder, Source
from munro.envs.worlds.compose import World
from munro.envs.worlds.grade import grade
from munro.envs.worlds.play import Log
from munro.envs.worlds.run import Result, ids, perform
from munro.envs.worlds.state import State
from munro.envs.worlds.task import Call, WorldTask
from munro.rewards.types import Grade

MOST_CALLS = 16
"""Calls in one turn that are carried out; the rest are refused."""


class Worlds(Environment):
    """Look things up and change them by tools, by the rules; graded by what is true at the end."""

    name = "world"
    file_args = ("path",)

    def __init__(
        self,
        path: str = "",
        domains: Sequence[str] = (),
        level: int = 0,
        kinds: Mapping[str, float] | None = None,
        tools: int = 0,
        size: float = 1.0,
        num_tasks: int = 4000,
        seed: int = 0,
    ) -> None:
        """
        Args:
            path: a folder of `munro world build`; the tasks are in it, and nothing else is said.
            domains: what the worlds are made of: names (`munro world list`), or files of your own.
            level: 1 for the smallest world, of few words, for models of a few million parameters.
            kinds: shares of the kinds of tasks; all of them unless given.
            tools: that a task shows; 0 for all of its world.
            size: times the rows that each table names.
            num_tasks: of the training split; a tenth as many are held out.
            seed: of every draw.
        """
        said = (domains, level, kinds, tools, size != 1.0, num_tasks != 4000, seed)
        if path and any(said):
            raise ValueError("path = a folder that has its tasks already: leave the rest out.")
        self.budget = Budget(turns=6 if level else 30)
        self._source: Source = (
            Folder(path)
            if path
            else Drawn(
                domains=tuple(domains),
                level=level,
                kinds=kinds,
                num_tools=tools,
                size=size,
                num_tasks=num_tasks,
                seed=seed,
            )
        )

    def tasks(self, split: str) -> Sequence[Task]:
        """Tasks; a request of "test" is never one of "train"."""
        if split not in ("train", "test"):
            raise ValueError(f"split = {split!r}: world has 'train' and 'test'.")
        return _Tasks(self._source, split)

    async def start(self, task: Task) -> Episode:
        """An episode that is over with the first turn that calls nothing."""
        world, base, asked = self._source.scene(task)
        return Attempt(world, base, asked, Log.after(asked.ask))

    async def restore(self, task: Task, saved: bytes) -> Episode:
        """An episode that goes on with the rows as they were."""
        header, _, rows = saved.partition(b"\n")
        kept = json.loads(header)
        world, base, asked = self._source.scene(task)
        state = State.loaded(world, rows)
        return Attempt(world, base, asked, Log.of(kept["log"]), state, kept["turn"])

    def gold_policy(self, task: Task) -> Any:
        """The gold calls, a turn at a time; then the answer."""
        asked = WorldTask.of(task.payload["task"])
        turn = 0
        last = asked.answer if task.payload.get("terse") else f"Answer: {asked.answer}"

        def policy(seen: Sequence[Message]) -> str:  # noqa: ARG001
            nonlocal turn
            turn += 1
            if turn > len(asked.gold):
                return last
            return "\n".join(map(hermes, asked.gold[turn - 1]))

        return policy


class _Tasks(Sequence[Task]):
    """Made as they are asked for."""

    def __init__(self, source: Source, split: str) -> None:
        self._source, self._split = source, split
        self._task = lru_cache(maxsize=4096)(lambda place: source.task(split, place))

    def __len__(self) -> int:
        return self._source.size(self._split)

    def __getitem__(self, place: Any) -> Any:
        if not isinstance(place, int):
            raise TypeError("one task at a time")
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._task(place)


class Attempt(Episode):
    """One attempt at one task, on rows of its own."""

    def __init__(
        self,
        world: World,
        base: State,
        task: WorldTask,
        log: Log,
        state: State | None = None,
        turn: int = 0,
    ) -> None:
        self._world, self._base, self._asked = world, base, task
        self._log, self._turn = log, turn
        self._state = base.copy() if state is None else state

    async def reply(self, message: Message) -> Sequence[Message] | None:
        calls: Sequence[ToolCall] = message.tool_calls
        if not message.is_sampled and not calls:
            calls = parse_calls(without_thoughts(message.content))
        if not calls:
            return None
        answers = [self._answer(made) for made in calls[:MOST_CALLS]]
        if len(calls) > MOST_CALLS:
            error = f"more than {MOST_CALLS} calls in one turn"
            answers.append(
                _answered(calls[MOST_CALLS].id, Result(text=f"Error: {error}", error=error))
            )
        self._turn += 1
        self._log.turn_over()
        return answers

    async def grade(self, trajectory: Trajectory) -> Grade:
        reply = without_thoughts(trajectory.reply)
        return grade(self._world, self._base, self._asked, self._state, self._log, reply)

    async def save(self) -> bytes:
        header = json.dumps({"turn": self._turn, "log": self._log.as_data()})
        return header.encode() + b"\n" + self._state.saved()

    async def close(self) -> None:
        self._state.close()

    def _answer(self, made: ToolCall) -> Answer:
        """Carry one call out. Only what the model did wrong becomes text."""
        key, error, arguments = "", made.error, None
        if not error:
            try:
                arguments = strict_json(made.arguments)
                key = Call(made.name, arguments).key if isinstance(arguments, dict) else ""
            except (ValueError, RecursionError) as wrong:
                error = f"{made.name}: the arguments are not JSON ({str(wrong)[:100]})"
        if not error and made.name not in self._asked.tools:
            there = ", ".join(self._asked.tools)
            error = f"there is no tool {made.name[:40]!r}; there are: {there}"
        if error:
            result = Result(text=f"Error: {error}", error=error)
        else:
            result = perform(self._world, self._state, made.name, arguments)
        given = ids(self._world, made.name, arguments)
        self._log.heard(self._turn, key, result, given)
        return _answered(made.id, result)


def hermes(call: Call) -> str:
    """A call in the form of gold replies."""
    wanted = {"name": call.tool, "arguments": dict(call.arguments)}
    return f"<tool_call>{json.dumps(wanted)}</tool_call>"


def _answered(call_id: str, result: Result) -> Answer:
    return Answer(role="tool", content=result.text, tool_call_id=call_id, error=result.error)
