"""The problem worker: one task, many attempts, and whether the learner should see them.

    task ──► early attempts ──► gate ──► full group ──► gate ──► rewards ──► Group
                                  └──────────┬────────────┘
                                             └──► Abandoned, with its reason

Report, sections 3.1.2 and 3.6.2. Broken machinery is tried again, and is never scored as wrong.

An environment's synchronous code runs in threads. A thread that never returns cannot be killed: its
attempt is given up at the deadline, and the thread is left behind. At most `MOST_LOST` may be left;
beyond, attempts fail at once and say why. Code that can hang belongs in a process that can be
killed: `munro.rewards.math` and `munro.rewards.sandbox` work that way.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from munro.envs.base import Environment, Episode, as_grade, call
from munro.envs.types import Message, Task, Trajectory
from munro.rewards import language, length, repetition
from munro.rewards.combine.compose import compose
from munro.rewards.config import RewardsConfig
from munro.rewards.errors import EnvironmentFailure, EpisodeError, GraderError
from munro.rewards.types import Grade
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Engine
from munro.rollout.episode import Limits, play
from munro.rollout.lockstep import Freely, Lockstep, Together
from munro.rollout.render import renderer
from munro.rollout.types import Abandoned, Attempt, Group, Reason
from munro.rollout.waits import Stalled, waiting

MOST_CALLS = 256
"""Calls into environments that one worker has open at once."""
MOST_LOST = 128
"""Threads of environments that may outlive their deadline."""


@dataclass(frozen=True, slots=True)
class _Played:
    """An attempt that has its grade, before anything is known of its siblings."""

    trajectory: Trajectory
    grade: Grade
    seconds: Counter[str]


@dataclass(slots=True)
class _Account:
    """What became of one task's attempts so far."""

    played: list[_Played] = field(default_factory=list)
    num_unscored: int = 0
    last_failure: str = ""
    gave_up: bool = False
    """An attempt failed more often than `rollout.retries` allows."""

    @property
    def pass_rate(self) -> float | None:
        return fmean(one.grade.solved for one in self.played) if self.played else None


class ProblemWorker:
    """Solves tasks: many at once (`solve`), or a wave in lockstep (`solve_all`)."""

    def __init__(
        self,
        engine: Engine,
        environment: Callable[[str], Environment],
        tokenizer: Any,
        config: RolloutConfig,
        rewards: RewardsConfig,
        *,
        seed: int,
        max_context: int,
        servers: Sequence[Engine] = (),
    ) -> None:
        """
        Args:
            engine: where `solve` and `evaluate` send their requests; a router over the servers.
            environment: the environment of a name, as in `Task.env`.
            tokenizer: the policy's own.
            config: group size, gates, sampling, retries and deadlines.
            rewards: weights of the reward's parts.
            seed: the run's.
            max_context: longest token stream, prompt included.
            servers: where `solve_all` sends its batches; `engine` alone unless given.

        Raises:
            ValueError: the tokenizer has no chat template, and the config asks for it.
        """
        self._engine = engine
        self._servers = servers or (engine,)
        self._environment = environment
        self._renderer = renderer(tokenizer, config.template)
        self._config = config
        self._rewards = rewards
        self._seed = seed
        self._max_context = max_context
        self._calls = asyncio.Semaphore(MOST_CALLS)

    async def solve(self, index: int, task: Task, max_response_tokens: int) -> Group | Abandoned:
        """Sample and grade one task's group, as fast as servers and graders allow.

        Args:
            index: place in the problem set's stream.
            task: the problem.
            max_response_tokens: cap on a response, and l_max of the length penalty.
        """
        return await self._solve(index, task, max_response_tokens, Freely(self._engine))

    async def solve_all(
        self, items: Sequence[tuple[int, Task, int]], *, version: int
    ) -> list[Group | Abandoned]:
        """A wave of (index, task, max_response_tokens) in lockstep: repeatable bit by bit.

        Args:
            items: the wave.
            version: of the weights that all servers serve.
        """
        together = self._lockstep(version)
        return await together.run([self._solve(*item, together) for item in items])

    async def evaluate(
        self, items: Sequence[tuple[int, Task, int]], num_attempts: int, *, version: int
    ) -> list[list[Attempt]]:
        """`num_attempts` graded attempts at each task, in lockstep and without gates.

        Raises:
            EpisodeError: a task has no room in the context, or an attempt could not be graded even
                after all retries: an evaluation with a hole would be no measurement.
        """
        together = self._lockstep(version)

        async def one(index: int, task: Task, cap: int) -> list[Attempt]:
            group = await self.sample(index, task, cap, num_attempts, together)
            if isinstance(group, Abandoned):
                raise EpisodeError(f"{task.env}/{task.id}: {group.reason}: {group.detail}")
            return list(group.attempts)

        return await together.run([one(*item) for item in items])

    async def sample(
        self,
        index: int,
        task: Task,
        max_response_tokens: int,
        num_attempts: int,
        together: Together | None = None,
    ) -> Group | Abandoned:
        """A group of `num_attempts` whatever their pass rate; abandoned only where it must be."""
        together = together or Freely(self._engine)
        account = _Account()
        if (too_long := self._too_long(index, task)) is not None:
            return too_long
        await self._attempt(
            range(num_attempts), index, task, max_response_tokens, account, together
        )
        if account.gave_up:
            return self._abandoned(index, task, account, Reason.UNSCORED)
        return await self._group(
            index, task, max_response_tokens, account, account.pass_rate or 0.0
        )

    def _lockstep(self, version: int) -> Lockstep:
        deadline_s = self._config.generate_deadline_s
        return Lockstep(
            self._servers, version=version, deadline_s=deadline_s, patience_s=deadline_s
        )

    async def _solve(
        self, index: int, task: Task, cap: int, together: Together
    ) -> Group | Abandoned:
        config, account = self._config, _Account()
        if (too_long := self._too_long(index, task)) is not None:
            return too_long

        early = range(config.num_early)
        await self._attempt(early, index, task, cap, account, together)
        if account.gave_up:
            return self._abandoned(index, task, account, Reason.UNSCORED)
        early_pass_rate = account.pass_rate or 0.0
        low, high = config.early_pass_rate
        if not low <= early_pass_rate <= high:
            is_hard = early_pass_rate < low
            reason = Reason.TOO_HARD_EARLY if is_hard else Reason.TOO_EASY_EARLY
            return self._abandoned(index, task, account, reason)

        if config.reuse_early:
            rest = range(config.num_early, config.group_size)
        else:
            rest = range(config.num_early, config.num_early + config.group_size)
        await self._attempt(rest, index, task, cap, account, together)
        if account.gave_up:
            return self._abandoned(index, task, account, Reason.UNSCORED)
        spent = account
        if not config.reuse_early:
            account = _Account(account.played[config.num_early :], account.num_unscored)

        group = await self._group(index, task, cap, account, early_pass_rate)
        if isinstance(group, Abandoned):
            return group
        low, high = config.pass_rate
        if not low <= group.pass_rate <= high:
            reason = Reason.TOO_HARD if group.pass_rate < low else Reason.TOO_EASY
            return self._abandoned(index, task, spent, reason, group.pass_rate)
        return group

    def _too_long(self, index: int, task: Task) -> Abandoned | None:
        num = len(self._renderer.opening(task.messages, task.tools))
        if num < self._max_context:
            return None
        detail = f"a prompt of {num} tokens leaves no room in a context of {self._max_context}"
        return Abandoned(index=index, task=task, reason=Reason.TOO_LONG, detail=detail)

    @staticmethod
    def _abandoned(
        index: int,
        task: Task,
        account: _Account,
        reason: Reason,
        pass_rate: float | None = None,
    ) -> Abandoned:
        return Abandoned(
            index=index,
            task=task,
            reason=reason,
            detail=account.last_failure,
            pass_rate=account.pass_rate if pass_rate is None else pass_rate,
            num_attempts=len(account.played),
            num_unscored=account.num_unscored,
            num_sampled=sum(one.trajectory.num_sampled for one in account.played),
        )

    async def _attempt(
        self,
        numbers: Sequence[int],
        index: int,
        task: Task,
        cap: int,
        account: _Account,
        together: Together,
    ) -> None:
        """Make these attempts, all at once, and enter into the account what came of them.

        Attempts whose siblings gave up are finished all the same: cutting them short would let the
        timing of a failure decide what is in a lockstep batch.
        """
        made = await together.gather(
            [self._persist(number, index, task, cap, account, together) for number in numbers]
        )
        account.played.extend(one for one in made if one is not None)

    async def _persist(
        self, number: int, index: int, task: Task, cap: int, account: _Account, together: Together
    ) -> _Played | None:
        """One attempt, made again while machinery fails and retries are left."""
        for again in range(self._config.retries + 1):
            try:
                return await self._play((index, number, again), task, cap, together)
            except EpisodeError as failure:
                account.num_unscored += 1
                account.last_failure = f"{type(failure).__name__}: {failure}"
        account.gave_up = True
        return None

    async def _play(
        self, key: tuple[int, int, int], task: Task, cap: int, together: Together
    ) -> _Played:
        config = self._config
        limits = Limits(
            max_response_tokens=cap,
            max_context=self._max_context,
            max_turns=config.max_turns,
            temperature=config.temperature,
            top_p=config.top_p,
            nucleus_candidates=config.nucleus_candidates,
        )
        began = time.monotonic()
        async with self._started(task) as episode:

            async def reply(message: Message) -> Sequence[Message] | None:
                seen: Sequence[Message] | None
                seen = await self._ask(task, "reply", episode.reply, message)
                return seen

            trajectory = await play(
                task, reply, together.generate, self._renderer, limits, seed=self._seed, key=key
            )
            generated = time.monotonic()
            grade = as_grade(await self._ask(task, "grade", episode.grade, trajectory))
            spent = {"generate": generated - began, "grade": time.monotonic() - generated}
        return _Played(trajectory, grade, Counter(spent))

    @contextlib.asynccontextmanager
    async def _started(self, task: Task) -> AsyncIterator[Episode]:
        """An episode that is closed whatever happens; the first failure is the one that counts."""
        start = self._environment(task.env).start
        episode: Episode = await self._ask(task, "start", start, task)
        try:
            yield episode
        except BaseException:
            with contextlib.suppress(EpisodeError):
                await self._ask(task, "close", episode.close)
            raise
        await self._ask(task, "close", episode.close)

    async def _ask(self, task: Task, what: str, function: Callable[..., Any], *args: Any) -> Any:
        """Call into the environment: the one place where its exceptions become ours.

        Raises:
            GraderError: no grade within `rollout.grade_deadline_s`.
            EnvironmentFailure: anything that its own code raised, named.
            EpisodeError: what it raised as such.
        """
        name = f"{task.env}/{task.id}"
        _refuse_if_many_are_lost(name)
        async with self._calls:
            try:
                async with waiting(f"{what} of {name}", self._config.grade_deadline_s):
                    return await call(function, *args)
            except Stalled as stalled:
                raise GraderError(
                    f"{what} of {name} took longer than rollout.grade_deadline_s = "
                    f"{self._config.grade_deadline_s:g}"
                ) from stalled
            except EpisodeError:
                raise
            except Exception as error:
                raise EnvironmentFailure(
                    f"{what} of {name} raised {type(error).__name__}: {error}"
                ) from error

    async def _group(
        self, index: int, task: Task, cap: int, account: _Account, early_pass_rate: float
    ) -> Group | Abandoned:
        """Grades that need all attempts, then rewards."""
        played = account.played
        trajectories = [one.trajectory for one in played]
        try:
            grades = await self._grade_group(task, trajectories, [one.grade for one in played])
        except EpisodeError as failure:
            account.num_unscored += len(played)
            account.last_failure = f"{type(failure).__name__}: {failure}"
            return self._abandoned(index, task, account, Reason.UNSCORED)
        # rho_q of the length penalty is the pass rate of the full group (RECIPE, section 15)
        pass_rate = fmean(grade.solved for grade in grades)
        seconds = sum((one.seconds for one in played), Counter())
        return Group(
            index=index,
            task=task,
            attempts=tuple(
                self._attempt_of(
                    trajectory, grade, self._length(trajectory, pass_rate, cap, len(played))
                )
                for trajectory, grade in zip(trajectories, grades, strict=True)
            ),
            early_pass_rate=early_pass_rate,
            num_unscored=account.num_unscored,
            detail=account.last_failure,
            seconds={phase: total / len(played) for phase, total in seconds.items()},
        )

    async def _grade_group(
        self, task: Task, trajectories: Sequence[Trajectory], grades: Sequence[Grade]
    ) -> Sequence[Grade]:
        environment = self._environment(task.env)
        if type(environment).grade_group is Environment.grade_group:
            return grades
        for again in range(self._config.retries + 1):
            try:
                final = await self._ask(
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

    def _length(self, trajectory: Trajectory, pass_rate: float, cap: int, group_size: int) -> float:
        """R_len of one attempt, in the form that the config asks for."""
        num_tokens = trajectory.num_sampled
        if self._rewards.length_form == "alp":
            scale = self._rewards.alp_scale or cap
            return length.alp(num_tokens, pass_rate, group_size, scale)
        return length.penalty(num_tokens, pass_rate, cap)

    def _attempt_of(self, trajectory: Trajectory, grade: Grade, spent: float) -> Attempt:
        said = [message.content for message in trajectory.messages if message.role == "assistant"]
        thoughts = "\n".join(map(language.chain_of_thought, said))
        return Attempt(
            trajectory=trajectory,
            grade=grade,
            reward=compose(
                grade,
                language=language.consistency(thoughts, self._rewards.language_alpha),
                length=spent,
                repetition=repetition.share("\n".join(said)),
                truncation=float(trajectory.ending.is_truncated),
                config=self._rewards,
            ),
        )


def _refuse_if_many_are_lost(name: str) -> None:
    """Threads of `munro.envs.base.call` are named "call ..."; hung ones accumulate."""
    running = sum(thread.name.startswith("call ") for thread in threading.enumerate())
    if running > MOST_CALLS + MOST_LOST:
        raise GraderError(
            f"{name}: more than {MOST_LOST} calls into environments never returned, and their "
            "threads cannot be killed. Let what can hang run in munro.rewards.sandbox."
        )
