"""Grading services on the machines of a Ray cluster. Ray's door in this room.

    problem workers ──► RemoteService ──► actor ──► GradingService ──► killable children there

What an actor answers is passed on. One that dies is started again by Ray, and its work is handed to
another; a grading that has cost two actors their lives is a named failure.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from munro.rewards import service
from munro.rewards.config import PoolConfig, RewardsConfig, ServiceConfig
from munro.rewards.errors import GraderError
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.kinds import Item, Options, check_item, label
from munro.rewards.plugins import resolve
from munro.rewards.service.meter import merged
from munro.rewards.service.setup import anywhere, configure
from munro.rewards.types import Grade

TRIES = 2
SLACK_S = 30.0
"""Beyond a grading's own deadline, before the actor itself counts as lost."""
CALLS_AT_ONCE = 1024
"""Gradings of one kind that one actor has open; its queues are what limits work."""
CALLERS = 512
"""Gradings that one problem worker has open."""


class _GraderActor:
    """A `GradingService` in a process of its own."""

    def __init__(self, rewards: RewardsConfig, judges: Mapping[str, JudgeConfig]) -> None:
        configure(rewards, judges)
        self._service = service.current()
        self._doors: dict[str, ThreadPoolExecutor] = {}

    async def grade(self, kind: str, item: Item, options: Options, group: str) -> Grade:
        call = partial(self._service.grade, kind, item, options=options, group=group)
        return await asyncio.get_running_loop().run_in_executor(self._door(kind), call)

    async def grade_group(
        self, kind: str, items: Sequence[Item], options: Options, group: str
    ) -> list[Grade]:
        call = partial(self._service.grade_group, kind, items, options=options, group=group)
        return await asyncio.get_running_loop().run_in_executor(self._door(kind), call)

    def _door(self, kind: str) -> ThreadPoolExecutor:
        """Where calls wait, each in a thread: one kind's full queue blocks no other kind."""
        if kind not in self._doors:
            self._doors[kind] = ThreadPoolExecutor(CALLS_AT_ONCE, f"door of {kind}")
        return self._doors[kind]

    async def metrics(self) -> dict[str, float]:
        return self._service.metrics()

    async def pid(self) -> int:
        return os.getpid()

    async def close(self) -> None:
        self._service.close()


class Graders:
    """All grading actors, started and ended by the driver. Needs a running Ray."""

    def __init__(
        self, rewards: RewardsConfig, judges: Mapping[str, JudgeConfig], *, lasting: str = ""
    ) -> None:
        """
        Args:
            rewards: `service` says how many, where, and how large.
            judges: by name, for graders that ask one.
            lasting: prefix of their names where they outlive this process, and may be there.
        """
        config, several = rewards.service, lasting or uuid4().hex
        stays = {"lifetime": "detached", "get_if_exists": True} if lasting else {}
        rewards = anywhere(rewards)
        self.known_as = tuple(f"{several}/grader-{n}" for n in range(config.actors))
        """Names under which other processes find them."""
        self.actors = [
            ray.remote(_GraderActor)
            .options(
                name=name,
                num_cpus=config.cpus,
                num_gpus=0,
                resources=dict(config.resources) or None,
                max_restarts=-1,
                max_task_retries=0,
                max_concurrency=100_000,
                scheduling_strategy="SPREAD",
                **stays,
            )
            .remote(rewards, judges)
            for name in self.known_as
        ]

    def wait_ready(self, deadline_s: float) -> None:
        """Wait until all of them are placed and up.

        Raises:
            GraderError: one is not; the cluster may lack what `[rewards.service]` asks for.
        """
        references = [actor.pid.remote() for actor in self.actors]
        up, _ = ray.wait(references, num_returns=len(references), timeout=deadline_s)
        if len(up) < len(references):
            raise GraderError(
                f"{len(references) - len(up)} of {len(references)} graders found no place within "
                f"{deadline_s:g} s. Lower rewards.service.actors, .cpus or .resources"
            )

    def metrics(self, deadline_s: float = 2.0) -> dict[str, float]:
        """Figures since the last call, of all that answer at once."""
        references = [actor.metrics.remote() for actor in self.actors]
        done, _ = ray.wait(references, num_returns=len(references), timeout=deadline_s)
        found = []
        for reference in done:
            with suppress(RayError):  # it is being started again, and has forgotten its counts
                found.append(ray.get(reference))
        return merged(found)

    def close(self) -> None:
        """End them all, and their children."""
        references = [actor.close.remote() for actor in self.actors]
        ray.wait(references, num_returns=len(references), timeout=10)
        for actor in self.actors:
            ray.kill(actor, no_restart=True)


class RemoteService:
    """A `munro.rewards.service.Service` over grading actors. Safe to use from many threads."""

    def __init__(self, known_as: Sequence[str], config: ServiceConfig) -> None:
        """
        Args:
            known_as: names of the actors.
            config: what they were started with; its deadlines are read.
        """
        self._actors = {name: ray.get_actor(name) for name in known_as}
        self._pools = {resolve(kind): pool for kind, pool in config.pools.items()}
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(CALLERS, thread_name_prefix="remote-grade")

    def submit(
        self, kind: str, item: Item, *, options: Options | None = None, group: str = ""
    ) -> Future[Grade]:
        """See `GradingService.submit`."""
        check_item(kind, item)
        return self._threads.submit(self.grade, kind, item, options=options, group=group)

    def grade(
        self, kind: str, item: Item, *, options: Options | None = None, group: str = ""
    ) -> Grade:
        """See `GradingService.grade`."""
        check_item(kind, item)
        grade: Grade = self._asked("grade", kind, item, options or {}, group, num=1)
        return grade

    def grade_group(
        self,
        kind: str,
        items: Sequence[Item],
        *,
        options: Options | None = None,
        group: str = "",
    ) -> list[Grade]:
        """See `GradingService.grade_group`."""
        for item in items:
            check_item(kind, item)
        grades: list[Grade] = self._asked(
            "grade_group", kind, list(items), options or {}, group, num=len(items)
        )
        return grades

    def metrics(self) -> dict[str, float]:
        """Nothing: who started the actors asks them (`Graders.metrics`), once for all."""
        return {}

    def close(self) -> None:
        """Ask for nothing more; the actors are the driver's to end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _asked(
        self, method: str, kind: str, items: Any, options: Options, group: str, *, num: int
    ) -> Any:
        kind = resolve(kind)  # an actor stands in another folder
        deadline_s = self._pools.get(kind, PoolConfig()).deadline_s * num + SLACK_S
        failure = ""
        failed: set[str] = set()
        for _ in range(TRIES):
            name = self._least_busy(but=failed)
            reference = getattr(self._actors[name], method).remote(kind, items, options, group)
            try:
                return ray.get(reference, timeout=deadline_s)
            except RayTaskError as error:
                raise (error.cause if isinstance(error.cause, Exception) else error) from None
            except GetTimeoutError:
                failure = f"{name.rpartition('/')[2]} did not answer within {deadline_s:g} s"
            except RayActorError:
                failure = f"{name.rpartition('/')[2]} died"
            finally:
                with self._lock:
                    self._open[name] -= 1
            failed.add(name)
        raise GraderError(f"{label(kind)}: no grade in {TRIES} tries ({failure})")

    def _least_busy(self, but: set[str]) -> str:
        with self._lock:
            names = [name for name in self._actors if name not in but] or list(self._actors)
            name = min(names, key=lambda each: self._open[each])
            self._open[name] += 1
            return name
