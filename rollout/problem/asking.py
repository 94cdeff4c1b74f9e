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
from munro.rollout.boxes import Away, Boxes
from munro.rollout.config import RolloutConfig
from munro.rollout.waits import Stalled, waiting

MOST_CALLS = 256
"""Calls into environments that one worker has open at once."""
SLOW_S = 5.0
"""Longest reply that a lockstep waits for in every turn."""
MOST_LOST = 128
"""Threads of environments that may outlive their deadline."""


class Environments:
    """The environments of one worker, as it asks them within their budgets.

    Args:
        environment: the environment of a name, as in `Task.env`.
        config: deadlines and retries.
        boxes: of the node, for environments that say how many may be open; of this worker alone
            unless given.
    """

    def __init__(
        self,
        environment: Callable[[str], Environment],
        config: RolloutConfig,
        boxes: Boxes | None = None,
    ) -> None:
        self._environment = environment
        self._config = config
        self._boxes = boxes or Boxes()
        self._calls = asyncio.Semaphore(MOST_CALLS)

    def budget(self, task: Task) -> Budget:
        """What an episode of the task may spend: all of it said, but what nothing limits."""
        return self._said(task).over(allowed_by(self._config))

    def _said(self, task: Task) -> Budget:
        """What the environment and the task say themselves."""
        said = self._environment(task.env).budget
        return said if task.budget is None else task.budget.over(said)

    def is_slow(self, task: Task) -> bool:
        """Whether a budget says that answers may take long; what holds for all says nothing."""
        return (self._said(task).reply_s or 0) > SLOW_S

    def restores(self, task: Task) -> bool:
        """Whether an episode of the task can go on from where it was saved."""
        return self._environment(task.env).restores

    @contextlib.asynccontextmanager
    async def started(
        self, task: Task, saved: bytes | None = None, away: Away = contextlib.nullcontext
    ) -> AsyncIterator[Episode]:
        """An episode that is closed whatever happens; the first failure is the one that counts.

        Args:
            task: that it plays.
            saved: where it goes on; from its start unless given.
            away: entered while it waits for a box.
        """
        environment = self._environment(task.env)
        most, box_mb = environment.budget.boxes, environment.box_mb
        async with contextlib.AsyncExitStack() as held:
            starting = contextlib.AsyncExitStack()
            if most is not None:
                await held.enter_async_context(self._boxes.one(task.env, most, away, box_mb))
                await starting.enter_async_context(self._boxes.starting())
            async with starting:
                episode = await self._opened(task, saved)
            try:
                yield episode
            except BaseException:
                with contextlib.suppress(EpisodeError):
                    await self.ask(task, "close", episode.close)
                raise
            await self.ask(task, "close", episode.close)

    async def _opened(self, task: Task, saved: bytes | None) -> Episode:
        environment = self._environment(task.env)
        episode: Episode
        if saved is None:
            episode = await self.ask(task, "start", environment.start, task)
        else:
            episode = await self.ask(task, "restore", environment.restore, task, saved)
        return episode

    async def saved(self, task: Task, episode: Episode) -> bytes | None:
        """The episode as it is after a turn; None where it does not say. Raises as `ask`."""
        saved = await self.ask(task, "save", episode.save)
        if saved is not None and not isinstance(saved, bytes):
            raise EnvironmentFailure(
                f"save of {task.env}/{task.id} gave {type(saved).__name__}: bytes, or None"
            )
        return saved

    async def forgotten(self, task: Task, saved: bytes | None) -> None:
        """Nobody will go on from there. What cannot be freed now is no failure of an attempt."""
        if saved is not None:
            with contextlib.suppress(EpisodeError):
                await self.ask(task, "forget", self._environment(task.env).forget, task, saved)

    async def ask(self, task: Task, what: str, function: Callable[..., Any], *args: Any) -> Any:
        """Call into the environment: the one place where its exceptions become ours.

        Args:
            task: whose episode it is.
            what: "start", "restore", "reply", "save", "grade", "group grade", "close" or "forget";
                the last word's deadline holds, of the budget where it names one, else of the
                config. To restore is to start, to save belongs to a reply, to forget to closing.
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
        word = {"restore": "start", "save": "reply", "forget": "close"}.get(word, word)
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
        if not environment.compares:
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
