"""The problem worker: conducts the attempts at a task, from the first one to the group."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from munro.envs.base import Environment
from munro.envs.loader import BadEnvironment
from munro.envs.types import Task
from munro.rewards.config import RewardsConfig
from munro.rewards.errors import EpisodeError
from munro.rollout.boxes import Boxes
from munro.rollout.calls import reader_of
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Engine
from munro.rollout.lockstep import Freely, Lockstep, Together
from munro.rollout.problem import gates
from munro.rollout.problem.asking import Environments
from munro.rollout.problem.attempts import Account, Player, Problem, showing
from munro.rollout.problem.scoring import group_of
from munro.rollout.render import renderer
from munro.rollout.types import Abandoned, Group, Reason

T = TypeVar("T")


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
        boxes: Path | None = None,
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
            boxes: folder of the node's slots for boxes; of this worker alone unless given.

        Raises:
            BadTemplate: the tokenizer has no chat template, and the config asks for it, or does
                not use `rollout.template_args`.
            BadPlugin: `rollout.calls` names no family.
        """
        self._engine = engine
        self._servers = servers or (engine,)
        self._config = config
        self._rewards = rewards
        self._max_context = max_context
        self._renderer = renderer(tokenizer, config.template, config.template_args)
        self._environments = Environments(environment, config, Boxes(boxes))
        self._player = Player(
            self._environments,
            self._renderer,
            reader_of(config.calls, tokenizer if config.template == "chat" else None),
            config,
            seed=seed,
            max_context=max_context,
        )

    def warnings(self) -> list[str]:
        """What a person should know before the first attempt, a line each."""
        if self._renderer.stop_token_ids:
            return [*self._renderer.notes]
        return [
            *self._renderer.notes,
            "nothing ends a turn: the tokenizer names no end-of-text token, the template ends a "
            "turn with no special token, and there is no generation_config.json that names one. "
            "Every reply will run to its cap.",
        ]

    async def solve(self, index: int, task: Task, max_response_tokens: int) -> Group | Abandoned:
        """Sample and grade one task's group, as fast as servers and graders allow.

        Args:
            index: place in the problem set's stream.
            task: the problem.
            max_response_tokens: cap on a response, and l_max of the length penalty.
        """
        problem = Problem(index=index, task=task, cap=max_response_tokens)
        return await self._solve(problem, Freely(self._engine))

    async def solve_all(
        self,
        items: Sequence[tuple[int, Task, int]],
        *,
        version: int,
        servers: Sequence[Engine] = (),
    ) -> list[Group | Abandoned]:
        """A wave of (index, task, max_response_tokens) in lockstep: repeatable bit by bit.

        Those whose tools are slow are played freely beside it (`rollout.lockstep`).

        Args:
            items: the wave.
            version: of the weights that all servers serve.
            servers: that do; all unless given.
        """
        problems = [Problem(index=index, task=task, cap=cap) for index, task, cap in items]
        return await self._wave(problems, self._solve, self._lockstep(version, servers))

    async def evaluate(
        self,
        items: Sequence[tuple[int, Task, int]],
        num_attempts: int,
        *,
        version: int,
        servers: Sequence[Engine] = (),
    ) -> list[Group]:
        """`num_attempts` graded attempts at each task, without gates; in lockstep as `solve_all`.

        Raises:
            EpisodeError: a task has no room in the context, or an attempt could not be graded even
                after all retries: an evaluation with a hole would be no measurement.
        """

        groups = await self.attempts(
            [(*item, range(num_attempts)) for item in items], version=version, servers=servers
        )
        told: list[Group] = []
        for group in groups:
            if isinstance(group, Abandoned):
                task = group.task
                raise EpisodeError(f"{task.env}/{task.id}: {group.reason}: {group.detail}")
            told.append(group)
        return told

    async def attempts(
        self,
        items: Sequence[tuple[int, Task, int, Sequence[int]]],
        *,
        version: int,
        servers: Sequence[Engine] = (),
    ) -> list[Group | Abandoned]:
        """Certain attempts at each task, without gates; in lockstep as `solve_all`.

        Args:
            items: (index, task, max_response_tokens, numbers of the attempts). What an attempt
                draws follows from the run's seed, the index and its number alone.
            version: of the weights that all servers serve.
            servers: that do; all unless given.
        """
        numbers = {item[0]: item[3] for item in items}

        async def one(problem: Problem, together: Together) -> Group | Abandoned:
            return await self._sampled(problem, numbers[problem.index], together)

        problems = [Problem(index=index, task=task, cap=cap) for index, task, cap, _ in items]
        return await self._wave(problems, one, self._lockstep(version, servers))

    async def _wave(
        self,
        problems: Sequence[Problem],
        work: Callable[[Problem, Together], Coroutine[Any, Any, T]],
        lockstep: Lockstep,
    ) -> list[T]:
        """What comes of all problems, in order: in lockstep those for which nobody waits long."""
        freely = Freely(self._engine)
        slow = [self._is_free(problem.task) for problem in problems]
        parties = [one for one, late in zip(problems, slow, strict=True) if not late]
        others = [one for one, late in zip(problems, slow, strict=True) if late]
        done = await freely.gather(
            [
                lockstep.run([work(problem, lockstep) for problem in parties]),
                freely.gather([work(problem, freely) for problem in others]),
            ]
        )
        in_step, free = map(iter, done)
        return [next(free if late else in_step) for late in slow]

    def _is_free(self, task: Task) -> bool:
        """Whether nobody waits for the task: an agent of its own asks when it likes."""
        is_auto = self._config.lockstep == "auto"
        if self._environments.is_agent(task):
            if not is_auto:
                raise BadEnvironment(
                    f'rollout.lockstep = "always" cannot hold for {task.env}: an agent of its own '
                    'asks when it likes. Leave it at "auto".'
                )
            return True
        return is_auto and self._environments.is_slow(task)

    async def sample(
        self,
        index: int,
        task: Task,
        max_response_tokens: int,
        num_attempts: int,
        together: Together | None = None,
    ) -> Group | Abandoned:
        """A group of `num_attempts` whatever their pass rate; abandoned only where it must be."""
        problem = Problem(index=index, task=task, cap=max_response_tokens)
        together = together or Freely(self._engine)
        return await self._sampled(problem, range(num_attempts), together)

    async def _sampled(
        self, problem: Problem, numbers: Sequence[int], together: Together
    ) -> Group | Abandoned:
        account = Account()
        if (too_long := self._too_long(problem)) is not None:
            return too_long
        await self._player.make(numbers, problem, account, together)
        if account.gave_up:
            return self._given_up(problem, account, Reason.UNSCORED)
        return await self._group(problem, account, account.pass_rate or 0.0)

    def _lockstep(self, version: int, servers: Sequence[Engine]) -> Lockstep:
        deadline_s = self._config.generate_deadline_s
        return Lockstep(
            servers or self._servers, version=version, deadline_s=deadline_s, patience_s=deadline_s
        )

    async def _solve(self, problem: Problem, together: Together) -> Group | Abandoned:
        config, account = self._config, Account()
        if (too_long := self._too_long(problem)) is not None:
            return too_long

        await self._player.make(range(config.num_early), problem, account, together)
        if account.gave_up:
            return self._given_up(problem, account, Reason.UNSCORED)
        early_pass_rate = account.pass_rate or 0.0
        if (reason := gates.early(config, early_pass_rate)) is not None:
            return self._given_up(problem, account, reason)

        if config.reuse_early:
            rest = range(config.num_early, config.group_size)
        else:
            rest = range(config.num_early, config.num_early + config.group_size)
        await self._player.make(rest, problem, account, together)
        if account.gave_up:
            return self._given_up(problem, account, Reason.UNSCORED)
        spent = account
        if not config.reuse_early:
            account = replace(account, played=account.played[config.num_early :])

        group = await self._group(problem, account, early_pass_rate)
        if isinstance(group, Abandoned):
            return group
        if (reason := gates.final(config, group.pass_rate)) is not None:
            return self._given_up(problem, spent, reason, group)
        return group

    def _given_up(
        self, problem: Problem, account: Account, reason: Reason, group: Group | None = None
    ) -> Abandoned:
        return gates.abandoned(problem, account, reason, self._config, group)

    def _too_long(self, problem: Problem) -> Abandoned | None:
        task = problem.task
        if self._environments.is_agent(task):
            return None  # what it asks is its own matter
        with showing(task):
            num = len(self._renderer.opening(task.messages, task.tools))
        if num < self._max_context:
            return None
        detail = f"a prompt of {num} tokens leaves no room in a context of {self._max_context}"
        return Abandoned(index=problem.index, task=task, reason=Reason.TOO_LONG, detail=detail)

    async def _group(
        self, problem: Problem, account: Account, early_pass_rate: float
    ) -> Group | Abandoned:
        """Grades that need all attempts, then rewards."""
        played = account.played
        trajectories = [one.trajectory for one in played]
        try:
            grades = await self._environments.grade_group(
                problem.task, trajectories, [one.grade for one in played]
            )
        except EpisodeError as failure:
            account.num_unscored += len(played)
            account.last_failure = f"{type(failure).__name__}: {failure}"
            return self._given_up(problem, account, Reason.UNSCORED)
        return group_of(problem, account, grades, early_pass_rate, self._rewards)
