"""Problem workers as Ray actors, called as one by the driver."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from munro.envs.base import contain
from munro.envs.problem_set import ProblemSet
from munro.envs.types import Task
from munro.rewards import service
from munro.rewards.service.cluster import RemoteService
from munro.rewards.service.meter import merged
from munro.rewards.service.setup import configure
from munro.rollout import waits
from munro.rollout.boxes import pool_of
from munro.rollout.cluster.actors import (
    at_once,
    cause_of,
    end,
    everywhere,
    pids_of,
    restart,
    start,
)
from munro.rollout.cluster.dealing import Dealer
from munro.rollout.cluster.registry import RemoteDirectory
from munro.rollout.cluster.server import ServerHandle
from munro.rollout.cluster.servers import Servers
from munro.rollout.engine import Engine
from munro.rollout.problem import ProblemWorker
from munro.rollout.router import Patience, Router
from munro.rollout.setting import Setting
from munro.rollout.types import Abandoned, Group


class _WorkerActor:
    """A `ProblemWorker` in a process of its own, with its problem set and its router."""

    def __init__(
        self, name: str, setting: Setting, servers: Mapping[str, str], registry: str
    ) -> None:
        waits.publish(waits.here(setting.run), name)
        self._name, self._setting, self._registry = name, setting, registry
        self._under_way: set[asyncio.Future[Group | Abandoned]] = set()
        self._handles = {
            server: ServerHandle(server, ray.get_actor(known)) for server, known in servers.items()
        }

    # not in `__init__`: Ray never starts an actor again whose constructor raised
    @cached_property
    def _router(self) -> Router:
        rollout = self._setting.rollout
        deadline_s = rollout.generate_deadline_s
        return Router(
            {},
            Patience(deadline_s=deadline_s, patience_s=deadline_s),
            directory=RemoteDirectory(self._registry, self._name, self._handles),
            piece=rollout.resume_partial,
        )

    @cached_property
    def _problems(self) -> ProblemSet:
        setting = self._setting
        configure(setting.rewards, setting.judges)
        if setting.graders:
            service.use(RemoteService(setting.graders, setting.rewards.service))
        return ProblemSet(setting.envs, setting.seed, setting.held_out)

    @cached_property
    def _worker(self) -> ProblemWorker:
        from transformers import AutoTokenizer

        contain(asyncio.get_running_loop())
        setting = self._setting
        return ProblemWorker(
            self._router,
            self._problems.environment,
            AutoTokenizer.from_pretrained(setting.model),
            setting.rollout,
            setting.rewards,
            seed=setting.seed,
            max_context=setting.max_context,
            servers=list(self._handles.values()),
            boxes=pool_of(setting.run),
        )

    async def load(self) -> list[str]:
        """Load everything; what a person should know of it, a line each."""
        return self._worker.warnings()

    async def forget(self) -> None:
        """Give up all that is under way."""
        for task in list(self._under_way):
            task.cancel()

    async def solve(self, index: int, cap: int, version: int) -> Group | Abandoned:
        self._router.expect(version)
        work = asyncio.ensure_future(self._worker.solve(index, self._problems.task(index), cap))
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        return await work

    async def solve_all(
        self, items: Sequence[tuple[int, int]], version: int, servers: Sequence[str]
    ) -> list[Group | Abandoned]:
        self._router.expect(version)
        wave = [(index, self._problems.task(index), cap) for index, cap in items]
        return await self._worker.solve_all(wave, version=version, servers=self._those(servers))

    async def evaluate(
        self, num_tasks: int, num_attempts: int, cap: int, version: int, servers: Sequence[str]
    ) -> list[Group]:
        self._router.expect(version)
        tasks = self._problems.held_out(num_tasks)
        # indices below 0 keep the seeds apart from those of the training stream
        items = [(-1 - place, task, cap) for place, task in enumerate(tasks)]
        return await self._worker.evaluate(
            items, num_attempts, version=version, servers=self._those(servers)
        )

    async def attempts(
        self,
        items: Sequence[tuple[int, Task, int, Sequence[int]]],
        version: int,
        servers: Sequence[str],
    ) -> list[Group | Abandoned]:
        self._router.expect(version)
        return await self._worker.attempts(items, version=version, servers=self._those(servers))

    def _those(self, servers: Sequence[str]) -> list[Engine]:
        """The servers that may be asked: lockstep waits for each that it is given."""
        return [self._handles[name] for name in servers]

    async def task_id(self, index: int) -> str:
        return self._problems.task(index).id

    async def metrics(self) -> dict[str, float]:
        return service.current().metrics()

    async def pid(self) -> int:
        return os.getpid()


class Solvers:
    """All problem workers, called as one. Implements `munro.rl.ports.Solvers`.

    Tasks are dealt out to the worker with the fewest; one that dies is given its tasks again.
    Waves and evaluations, which must repeat bit by bit, go to the first worker whole.
    """

    def __init__(self, setting: Setting, servers: Servers) -> None:
        self._servers = servers
        self.actors: dict[str, Any] = {
            name: start(
                _WorkerActor, setting, name, 0, setting, servers.known_as, servers.registry,
                known_as=setting.lasting and f"{setting.lasting}/{name}",
            )
            for name in (f"worker-{i}" for i in range(setting.rollout.workers))
        }  # fmt: skip
        self.warnings: list[str] = []
        """What a person should know, once all are ready, a line each."""
        self._running: dict[Any, tuple[str, int, int]] = {}
        self._dealer = Dealer(self.actors)
        for actor in self.actors.values():
            # one that is there already may be at what the process before us handed out
            actor.forget.remote()
            actor.load.remote()

    def wait_ready(self, deadline_s: float) -> None:
        """Wait until all have loaded their environments.

        Raises:
            Stalled: one does not come up.
            BadEnvironment: an environment cannot be loaded.
        """
        said = everywhere("start", self.actors, lambda actor: actor.load.remote(), deadline_s)
        self.warnings = list(dict.fromkeys(line for lines in said.values() for line in lines))

    def restart(self) -> None:
        """Start all of them anew; what they were at is handed out again."""
        restart(self.actors)

    def submit(self, index: int, max_response_tokens: int) -> None:
        """Hand out a task; its outcome will come from `collect`."""
        self._hand_out(self._dealer.deal(), index, max_response_tokens)

    def _hand_out(self, name: str, index: int, cap: int) -> None:
        reference = self.actors[name].solve.remote(index, cap, self._servers.version)
        self._running[reference] = (name, index, cap)

    def collect(self, timeout_s: float) -> list[Group | Abandoned]:
        """What has come back, waiting at most `timeout_s` for the first of it.

        Raises:
            TooFewServers: there are none to go on with.
        """
        self._servers.require_enough()
        if not self._running:
            time.sleep(timeout_s)
            return []
        done, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        more, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        outcomes = []
        for reference in dict.fromkeys([*done, *more]):
            name, index, cap = self._running.pop(reference)
            try:
                outcomes.append(ray.get(reference))
            except RayActorError:
                self._hand_out(name, index, cap)
                continue
            except RayTaskError as error:
                raise cause_of(error) from error
            self._dealer.back(name)
        return outcomes

    def solve_all(
        self, tasks: Sequence[tuple[int, int]], deadline_s: float
    ) -> list[Group | Abandoned]:
        """Solve (index, max_response_tokens) pairs in lockstep: repeatable bit by bit.

        Raises:
            Stalled: the wave is not done in time.
        """
        what = f"a wave of {len(tasks)} groups"
        given = (list(tasks), self._servers.version, tuple(self._servers.in_use))
        return list(self._first(what, lambda actor: actor.solve_all.remote(*given), deadline_s))

    def evaluate(
        self, num_tasks: int, num_attempts: int, max_response_tokens: int, deadline_s: float
    ) -> list[Group]:
        """`num_attempts` graded attempts at each of at most `num_tasks` held-out tasks.

        Raises:
            Stalled: not done in time.
        """
        servers = self._servers
        given = (
            num_tasks,
            num_attempts,
            max_response_tokens,
            servers.version,
            tuple(servers.in_use),
        )
        what = f"an evaluation on {num_tasks} tasks"
        return list(self._first(what, lambda actor: actor.evaluate.remote(*given), deadline_s))

    def attempts(
        self, items: Sequence[tuple[int, Task, int, Sequence[int]]], deadline_s: float
    ) -> list[Group | Abandoned]:
        """Certain attempts at tasks of the problem set's environments; see `ProblemWorker`.

        Raises:
            Stalled: not done in time.
        """
        given = (list(items), self._servers.version, tuple(self._servers.in_use))
        what = f"attempts at {len(items)} tasks"
        return list(self._first(what, lambda actor: actor.attempts.remote(*given), deadline_s))

    def task_id(self, index: int, deadline_s: float = 60.0) -> str:
        """`Task.id` of task number `index` of the stream."""
        what = f"the name of task {index}"
        return str(self._first(what, lambda actor: actor.task_id.remote(index), deadline_s))

    def metrics(self) -> dict[str, float]:
        """What the grading services of the workers did since the last call, where they answer."""
        return merged(at_once([actor.metrics.remote() for actor in self.actors.values()]))

    def pids(self) -> list[int]:
        """See `pids_of`."""
        return pids_of(self.actors)

    def close(self) -> None:
        """End all workers."""
        self._running.clear()
        self._dealer = Dealer(self.actors)
        end(self.actors, None, 0)

    def _first(self, what: str, call: Callable[[Any], Any], deadline_s: float) -> Any:
        name, actor = next(iter(self.actors.items()))
        return everywhere(what, {name: actor}, call, deadline_s)[name]
