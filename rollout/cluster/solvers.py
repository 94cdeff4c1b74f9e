"""Problem workers as Ray actors, called as one by the driver."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import ray

from munro.envs.base import contain
from munro.envs.problem_set import ProblemSet
from munro.envs.types import Task
from munro.rewards import service
from munro.rewards.service.cluster import RemoteService
from munro.rewards.service.meter import merged
from munro.rewards.service.setup import configure
from munro.rollout import waits
from munro.rollout.boxes import pool_of
from munro.rollout.cluster.actors import at_once, end, everywhere, loaded, pids_of, restart, start
from munro.rollout.cluster.hub import Hub
from munro.rollout.cluster.outbox import Outbox
from munro.rollout.cluster.registry import RemoteDirectory
from munro.rollout.cluster.server import ServerHandle
from munro.rollout.cluster.servers import Servers
from munro.rollout.cluster.stores import Hands, Stores
from munro.rollout.engine import Engine
from munro.rollout.problem import ProblemWorker
from munro.rollout.router import Patience, Router
from munro.rollout.setting import Setting
from munro.rollout.types import Abandoned, Group, Outcome, places_of


class _WorkerActor:
    """A `ProblemWorker` in a process of its own, with its problem set and its router."""

    def __init__(
        self,
        name: str,
        setting: Setting,
        servers: Mapping[str, str],
        registry: str,
        stores: Mapping[str, str],
    ) -> None:
        waits.publish(waits.here(setting.run), name)
        self._name, self._setting, self._registry = name, setting, registry
        self._hands = Hands(stores)
        self._outbox: Outbox[Outcome] = Outbox()
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
        found = self._worker.warnings()
        loaded()
        return found

    async def forget(self) -> None:
        """Give up all that is under way, for who asked for it is gone."""
        self._outbox.forget()

    async def assign(self, items: Sequence[tuple[int, int]], version: int) -> None:
        """Begin these tasks; what comes of them is had from `next_outcomes`."""
        self._router.expect(version)
        for index, cap in items:
            self._outbox.begin(self._solve(index, cap))

    async def _solve(self, index: int, cap: int) -> Outcome:
        return await self._tell(await self._worker.solve(index, self._problems.task(index), cap))

    async def next_outcomes(self, pause_s: float) -> list[Outcome]:
        """See `Outbox.take`."""
        return await self._outbox.take(pause_s)

    async def _tell(self, found: Group | Abandoned) -> Outcome:
        return await self._hands.tell(found, self._setting.weigh)

    async def solve_all(
        self, items: Sequence[tuple[int, int]], version: int, servers: Sequence[str]
    ) -> list[Outcome]:
        self._router.expect(version)
        wave = [(index, self._problems.task(index), cap) for index, cap in items]
        found = await self._worker.solve_all(wave, version=version, servers=self._those(servers))
        return await _in_turn(self._tell(one) for one in found)

    async def evaluate(
        self, num_tasks: int, num_attempts: int, cap: int, version: int, servers: Sequence[str]
    ) -> list[Outcome]:
        self._router.expect(version)
        tasks = self._problems.held_out(num_tasks)
        # indices below 0 keep the seeds apart from those of the training stream
        items = [(-1 - place, task, cap) for place, task in enumerate(tasks)]
        found = await self._worker.evaluate(
            items, num_attempts, version=version, servers=self._those(servers)
        )
        return await _in_turn(self._hands.tell(group, None) for group in found)

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


async def _in_turn(coroutines: Iterable[Coroutine[Any, Any, Outcome]]) -> list[Outcome]:
    return [await one for one in coroutines]


class Solvers:
    """All problem workers, called as one. Implements `munro.rl.ports.Solvers`.

    Tasks are dealt out to the worker with the fewest; one that dies is given its tasks again. Each
    worker has one call open, which brings what is done. Waves and evaluations, which must repeat
    bit by bit, go to the first worker whole.
    """

    def __init__(self, setting: Setting, servers: Servers) -> None:
        self._servers = servers
        deadline_s = setting.rollout.generate_deadline_s
        self.stores = Stores(
            setting.run,
            keep_dropped=setting.rollout.keep_dropped,
            deadline_s=deadline_s,
            lasting=setting.lasting,
        )
        known = (servers.known_as, servers.registry, self.stores.known_as)
        self.actors: dict[str, Any] = {
            name: start(
                _WorkerActor, setting, name, 0, setting, *known,
                known_as=setting.lasting and f"{setting.lasting}/{name}",
            )
            for name in (f"worker-{i}" for i in range(setting.rollout.workers))
        }  # fmt: skip
        self.warnings: list[str] = []
        """What a person should know, once all are ready, a line each."""
        self._hub = Hub(self.actors, lambda: servers.version, self.forget)
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

    def assign(self, tasks: Sequence[tuple[int, int]]) -> None:
        """Hand out (index, max_response_tokens) pairs; outcomes come from `next_outcomes`."""
        self._hub.assign(tasks)

    def next_outcomes(self, timeout_s: float) -> list[Outcome]:
        """What has come back, waiting at most `timeout_s` for the first of it.

        Raises:
            TooFewServers: there are none to go on with.
        """
        self._servers.require_enough()
        return self._hub.next_outcomes(timeout_s)

    def lost(self, groups: Sequence[Outcome]) -> list[Outcome]:
        """Those of them whose tokens are there no more."""
        gone = {place.key for place in self.stores.missing(places_of(groups))}
        return [group for group in groups if group.place and group.place.key in gone]

    def forget(self, groups: Sequence[Outcome]) -> None:
        """Nobody will ask for their tokens any more."""
        self.stores.forget(places_of(groups))

    def solve_all(self, tasks: Sequence[tuple[int, int]], deadline_s: float) -> list[Outcome]:
        """Solve (index, max_response_tokens) pairs in lockstep: repeatable bit by bit.

        Raises:
            Stalled: the wave is not done in time.
        """
        what = f"a wave of {len(tasks)} groups"
        given = (list(tasks), self._servers.version, tuple(self._servers.in_use))
        return list(self._first(what, lambda actor: actor.solve_all.remote(*given), deadline_s))

    def evaluate(
        self, num_tasks: int, num_attempts: int, max_response_tokens: int, deadline_s: float
    ) -> list[Outcome]:
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
        """End all workers, and what they made."""
        end(self.actors, None, 0)
        self.stores.close()

    def _first(self, what: str, call: Callable[[Any], Any], deadline_s: float) -> Any:
        name, actor = next(iter(self.actors.items()))
        return everywhere(what, {name: actor}, call, deadline_s)[name]
