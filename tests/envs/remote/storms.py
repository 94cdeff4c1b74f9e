"""Peers' packages in venvs of their own, and two hundred episodes with kills among them."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from munro.envs import Environment, Task
from munro.envs.base import Policy
from munro.envs.check import play
from munro.envs.remote import Remote
from munro.rewards.errors import EnvironmentFailure
from tests.envs.remote.sides import below, gone, kill_side

NOOP = ("done",)
Said = Sequence[Any] | Policy


def venv(variable: str, commands: str) -> str:
    """The interpreter of the venv that an environment variable names.

    Skips the test, with the commands that make the venv, where none is named.
    """
    named = os.environ.get(variable, "")
    if not named:
        pytest.skip(f"{variable} names no venv; this makes one: {commands}")
    python = Path(named) / "bin" / "python"
    assert python.exists(), f"{variable} = {named}: no {python}"
    return str(python)


async def gold(environment: Environment, task: Task) -> Said:
    """What a perfect policy says."""
    policy = await environment.gold_policy(task)  # type: ignore[misc]
    return policy or await environment.gold_reply(task)  # type: ignore[misc, return-value]


async def passed(environment: Environment, task: Task, said: Said) -> bool | None:
    """Whether an episode passes."""
    grade, _ = await play(environment, task, said)
    return grade.passed


@dataclass
class Storm:
    """What came of many episodes."""

    right: int = 0
    wrong: list[tuple[str, str, bool | None]] = field(default_factory=list)
    unscored: Counter[str] = field(default_factory=Counter)
    """Why attempts had to be tried again."""


def storm(
    environment: Remote, tasks: Sequence[Task], *, plays: int = 200, at_once: int = 16
) -> Storm:
    """Play gold and noop in turns, and kill the side twice on the way; an attempt that is unscored
    is tried again. Nothing of the environment may be left once its pool is closed."""
    found = Storm()
    left = iter(range(plays))
    kills = [plays // 3, 2 * plays // 3]
    ours: set[int] = set()

    async def player() -> None:
        for number in left:
            if kills and number >= kills[0]:
                kills.pop(0)
                ours.update(pid for keeper in environment.pids() for pid in below(keeper))
                kill_side(environment)
            task = tasks[number // 2 % len(tasks)]
            what = "gold" if number % 2 else "noop"
            for _ in range(6):
                try:
                    said = await gold(environment, task) if what == "gold" else NOOP
                    done = await passed(environment, task, said)
                    break
                except EnvironmentFailure as error:
                    found.unscored[str(error)[:80]] += 1
            else:
                found.wrong.append((task.id, f"{what}: never scored", None))
                continue
            if done is (what == "gold"):
                found.right += 1
            else:
                found.wrong.append((task.id, what, done))

    async def all_of_them() -> None:
        async with asyncio.timeout(400):
            await asyncio.gather(*(player() for _ in range(at_once)))

    asyncio.run(all_of_them())
    ours.update(pid for keeper in environment.pids() for pid in below(keeper))
    environment._pool.close()
    assert not kills
    assert gone(sorted(ours), 15.0), "processes are left"
    return found
