"""Calls into environments: named, bounded in time, and broken only in ways that a worker knows.

An environment's synchronous code runs in threads. A thread that never returns cannot be killed: its
attempt is given up at the deadline, and the thread is left behind. At most `MOST_LOST` may be left;
beyond, attempts fail at once and say why. Code that can hang belongs in a process that can be
killed: `munro.rewards.math` and `munro.rewards.sandbox` work that way.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from munro.envs.base import Environment, Episode, Quit, as_grade, call
from munro.envs.budget import Budget
from munro.envs.types import Task, Trajectory
from munro.rewards.errors import EnvironmentFailure, EpisodeError, GraderError
from munro.rewards.types import Grade
from munro.rollout.config import RolloutConfig
from munro.rollout.waits import Stalled, waiting

MOST_CALLS = 256
"""Calls into environments that one worker has open at once."""
MOST_LOST = 128
"""Threads of environments that may outlive their deadline."""


class Environments:
    """The environments of one worker, as it asks them within their budgets.

    Args:
        environment: the environment of a name, as in `Task.env`.
        config: deadlines and retries.
    """

    def __init__(self, environment: Callable[[str], Environment], config: RolloutConfig) -> None:
        self._environment = environment
        self._config = config
        self._calls = asyncio.Semaphore(MOST_CALLS)

    def budget(self, task: Task) -> Budget:
        """What an episode of the task may spend: all of it said, but what nothing limits."""
        return self._said(task).over(allowed_by(self._config))

    def _said(self, task: Task) -> Budget:
        """What the environment and the task say themselves."""
        said = self._environment(task.env).budget
        return said if task.budget is None else task.budget.over(said)

    @contextlib.asynccontextmanager
    async def started(self, task: Task) -> AsyncIterator[Episode]:
        """An episode that is closed whatever happens; the first failure is the one that counts."""
        start = self._environment(task.env).start
        episode: Episode = await self.ask(task, "start", start, task)
        try:
            yield episode
        except BaseException:
            with contextlib.suppress(EpisodeError):
                await self.ask(task, "close", episode.close)
            raise
        await self.ask(task, "close", episode.close)

    async def ask(self, task: Task, what: str, function: Callable[..., Any], *args: Any) -> Any:
        """Call into the environment: the one place where its exceptions become ours.

        Args:
            task: whose episode it is.
            what: "start", "reply", "grade", "group grade" or "close"; the last word's deadline
                holds, of the budget where it names one, else of the config.
            function: the environment's own.
            args: its arguments.

        Raises:
            GraderError: nothing within the deadline.
            EnvironmentFailure: anything that its own code raised, named.
            EpisodeError: what it raised as such.
        """
        name = f"{task.env}/{task.id}"
        _refuse_if_many_are_lost(name)
        key, deadline_s = self._deadline(task, what.split()[-1])
        async with self._calls:
            try:
                async with waiting(f"{what} of {name}", deadline_s):
                    return await call(function, *args)
            except Stalled as stalled:
                raise GraderError(
                    f"{what} of {name} took longer than {key} = {deadline_s:g}"
                ) from stalled
            except EpisodeError:
                raise
            except Quit as error:
                raise EnvironmentFailure(f"{what} of {name} raised {error}") from error
            except Exception as error:
                raise EnvironmentFailure(
                    f"{what} of {name} raised {type(error).__name__}: {error}"
                ) from error

    def _deadline(self, task: Task, word: str) -> tuple[str, float]:
        """The key that says how long this may take, and the seconds."""
        said: float | None = getattr(self._said(task), f"{word}_s", None)
        if said is not None:
            return f"env.budget.{word}_s", said
        key = f"{word}_deadline_s"
        return f"rollout.{key}", float(getattr(self._config, key))

    async def grade_group(
        self, task: Task, trajectories: Sequence[Trajectory], grades: Sequence[Grade]
    ) -> Sequence[Grade]:
        """The environment's last word on a whole group, tried again while it fails.

        Raises:
            EpisodeError: it failed until retries ran out.
        """
        environment = self._environment(task.env)
        if type(environment).grade_group is Environment.grade_group:
            return grades
        for again in range(self._config.retries + 1):
            try:
                final = await self.ask(
                    task, "group grade", environment.grade_group, task, trajectories, grades
                )
            except EpisodeError:
                if again == self._config.retries:
                    raise
                continue
            if len(final) != len(grades):
                raise EnvironmentFailure(
                    f"group grade of {task.env}/{task.id} gave {len(final)} grades for "
                    f"{len(grades)} attempts"
                )
            return [as_grade(grade) for grade in final]
        raise AssertionError("the last try returns or raises")


def allowed_by(config: RolloutConfig) -> Budget:
    """The budget of an environment that says nothing of its own."""
    return Budget(
        turns=config.max_turns,
        observation_tokens=config.observation_tokens,
        start_s=config.start_deadline_s,
        reply_s=config.reply_deadline_s,
        grade_s=config.grade_deadline_s,
    )


def _refuse_if_many_are_lost(name: str) -> None:
    """Threads of `munro.envs.base.call` are named "call ..."; hung ones accumulate."""
    running = sum(thread.name.startswith("call ") for thread in threading.enumerate())
    if running > MOST_CALLS + MOST_LOST:
        raise GraderError(
            f"{name}: more than {MOST_LOST} calls into environments never returned, and their "
            "threads cannot be killed. Let what can hang run in munro.rewards.sandbox."
        )
