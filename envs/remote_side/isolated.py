"""The side for an environment of Munro's own kind: the other end of `munro.envs.remote.isolated`.

The one side that imports Munro, and therefore the one that takes more than the standard library.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from munro.envs.base import Episode, Over, as_grade, call
from munro.envs.remote.wire import ARRAYS, grade_of, message_data, message_of, task_data, task_of
from munro.envs.types import (
    Answer,
    CallRecord,
    Ending,
    KeptTokens,
    Message,
    Task,
    Trajectory,
)
from munro.rewards.types import Grade

INSTALL = "munro"
AT_ONCE = 512


class Side:
    """An environment that Munro loads, by its path."""

    at_once = AT_ONCE

    def __init__(self, path: str, args: Mapping[str, Any]) -> None:
        """Load it as `munro.envs.load` does."""
        from munro.envs.loader import load

        environment = load(path, **args)
        self._environment = environment
        self.name = environment.name
        self.tools = [dict(tool) for tool in environment.tools]
        self.budget = environment.budget.model_dump(exclude_none=True)
        self.restores = environment.restores
        self.compares = environment.compares
        self.more = {
            "files": list(type(environment).files(args)),
            "box_mb": environment.box_mb,
            "needs_graders": environment.needs_graders,
        }

    def tasks(self, split: str) -> Any:
        """Its tasks as data, each made when it is asked for."""
        tasks = self._environment.tasks(split)
        if hasattr(tasks, "__len__") and hasattr(tasks, "__getitem__"):
            return _Data(tasks)
        return (task_data(task) for task in tasks)

    async def start(self, task: dict[str, Any]) -> Episode:
        """An episode of its own."""
        episode: Episode = await call(self._environment.start, _task(task))
        return episode

    async def restore(self, task: dict[str, Any], saved: bytes) -> Episode:
        """The same, where it was saved."""
        episode: Episode = await call(self._environment.restore, _task(task), saved)
        return episode

    async def reply(self, episode: Episode, message: dict[str, Any]) -> Any:
        """What comes of a turn."""
        said = await call(episode.reply, message_of(message, "message"))
        if said is None:
            return None
        return {"observations": [_observed(one) for one in said], "over": isinstance(said, Over)}

    async def grade(self, episode: Episode, trajectory: dict[str, Any]) -> dict[str, Any]:
        """Its own grade."""
        return _grade(as_grade(await call(episode.grade, _trajectory(trajectory))))

    async def save(self, episode: Episode) -> bytes | None:
        """The episode as it is."""
        saved: bytes | None = await call(episode.save)
        return saved

    async def close(self, episode: Episode) -> None:
        """Close it."""
        await call(episode.close)

    async def forget(self, task: dict[str, Any], saved: bytes) -> None:
        """Nobody will go on from there."""
        await call(self._environment.forget, _task(task), saved)

    async def gold(self, task: dict[str, Any]) -> Any:
        """Its gold policy, else its gold replies."""
        policy = await call(self._environment.gold_policy, _task(task))
        if policy is not None:
            return _heard_by(policy)
        gold = await call(self._environment.gold_reply, _task(task))
        return gold if gold is None or isinstance(gold, str) else list(gold)

    async def careless(self, task: dict[str, Any], draw: float) -> Any:
        """Its careless reply."""
        return await call(self._environment.careless_reply, _task(task), draw)

    async def group(
        self,
        task: dict[str, Any],
        trajectories: Sequence[dict[str, Any]],
        grades: Sequence[dict[str, Any]],
    ) -> list[dict[str, Any]]:
        """Its last word on a group."""
        given = [_trajectory(one) for one in trajectories]
        known = [grade_of(one) for one in grades]
        said = await call(self._environment.grade_group, _task(task), given, known)
        return [_grade(as_grade(one)) for one in said]


class _Data(Sequence[dict[str, Any]]):
    """Tasks as data."""

    def __init__(self, tasks: Any) -> None:
        self._tasks = tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, place: Any) -> Any:
        return task_data(self._tasks[place])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[place] for place in range(len(self)))


def _task(data: Mapping[str, Any]) -> Task:
    return task_of(data, "task")


def _observed(message: Message) -> dict[str, Any]:
    data = message_data(message)
    if isinstance(message, Answer):
        data |= {"error": message.error, "seconds": message.seconds}
    return data


def _grade(grade: Grade) -> dict[str, Any]:
    return {
        "reward": grade.reward,
        "passed": grade.passed,
        "parts": dict(grade.parts),
        "reason": grade.reason,
    }


def _heard_by(policy: Callable[..., Any]) -> Callable[[Sequence[dict[str, Any]]], Any]:
    async def turn(seen: Sequence[dict[str, Any]]) -> Any:
        said = await call(policy, tuple(_plain(one) for one in seen))
        return said if isinstance(said, str) else message_data(said)

    return turn


def _plain(data: Mapping[str, Any]) -> Message:
    message = message_of(data, "message")
    return message.plain if isinstance(message, Answer) else message


def _trajectory(data: Mapping[str, Any]) -> Trajectory:
    """The trajectory again, without candidates and experts."""
    arrays: dict[str, Any] = {
        name: np.frombuffer(base64.b64decode(data["arrays"][name]), np.dtype(kind))
        for name, kind in ARRAYS.items()
    }
    return Trajectory(
        **arrays,
        kept=KeptTokens.nothing(len(arrays["token_ids"])),
        ending=Ending(data["ending"]),
        messages=tuple(_plain(one) for one in data["messages"]),
        reply=data["reply"],
        calls=tuple(CallRecord(**one) for one in data["calls"]),
    )
