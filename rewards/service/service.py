"""The grading service: items of any kind in, for each a `Grade` or a named failure, in time.

    grade(kind, item) ──► queue of that kind, fair to groups ──► lane ──► grader ──► Grade
                            │ full: wait at the door               │ died or failed: once more
                            └───────── deadline ───────────────────┴──► GraderError, with a reason

Every kind has its own queue, its own lanes (threads) and its own processes (`pool`), so that one
kind cannot hold up another. A grader that never comes back loses its lane, which is replaced; the
caller hears of it at the deadline. Works without Ray; `munro.rewards.service.cluster` puts services
on other machines.

    with GradingService() as service:
        service.grade("math", {"response": "<answer>2/4</answer>", "answer": "0.5"}).passed
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Protocol, Self

from munro.rewards.config import PoolConfig, RewardsConfig, ServiceConfig
from munro.rewards.errors import GraderError
from munro.rewards.kinds import Item, Options, Usual, check_item, find, is_joint
from munro.rewards.plugins import resolve
from munro.rewards.service.meter import Meter
from munro.rewards.service.pool import Pool
from munro.rewards.types import Grade


class Service(Protocol):
    """Whoever grades: here, or on a cluster."""

    def submit(
        self, kind: str, item: Item, *, options: Options | None = None, group: str = ""
    ) -> Future[Grade]:
        """Hand in one item; waits while the queue has no room."""
        ...

    def grade(
        self, kind: str, item: Item, *, options: Options | None = None, group: str = ""
    ) -> Grade:
        """The grade of one item."""
        ...

    def grade_group(
        self,
        kind: str,
        items: Sequence[Item],
        *,
        options: Options | None = None,
        group: str = "",
    ) -> list[Grade]:
        """Grades of items that are compared with each other."""
        ...

    def metrics(self) -> dict[str, float]:
        """Figures since the last call."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class GradingService:
    """Grades in this process and in killable children of it. Safe to use from many threads."""

    def __init__(
        self, config: ServiceConfig | None = None, rewards: RewardsConfig | None = None
    ) -> None:
        """Nothing is started before the first item.

        Args:
            config: sizes, by kind.
            rewards: what kinds take from it holds where neither `config` nor an item says more.
        """
        pools = (config or ServiceConfig()).pools
        self._sizes = {resolve(kind): pool for kind, pool in pools.items()}
        self._rewards = rewards
        self._meter = Meter()
        self._lock = threading.Lock()
        self._pools: dict[str, Pool] = {}
        self._is_closed = False

    @classmethod
    def of(cls, rewards: RewardsConfig) -> Self:
        """A service as `[rewards]` in the TOML says: its sizes, its sandbox and its judge."""
        return cls(rewards.service, rewards)

    def submit(
        self, kind: str, item: Item, *, options: Options | None = None, group: str = ""
    ) -> Future[Grade]:
        """Hand in one item; waits while the queue has no room.

        Args:
            kind: as `munro.rewards.kinds.find` takes it.
            item: the response and what it is graded against.
            options: of the grader, as `munro.rewards.kinds.make` takes them.
            group: what the queue is to be fair to, a task's id say; "" for items of nobody.

        Returns:
            What will hold the grade, or a `GraderError` or another `EpisodeError` that says why
            there is none, within the deadline of the kind's pool.

        Raises:
            ValueError: no such kind, or a field of the item is missing or of the wrong type.
            GraderError: the service is closed.
        """
        check_item(kind, item)
        return self._pool(kind).submit([item], self._chosen(kind, options), group)

    def grade(
        self, kind: str, item: Item, *, options: Options | None = None, group: str = ""
    ) -> Grade:
        """The grade of one item. Arguments as for `submit`.

        Raises:
            EpisodeError: there is none; says why.
            ValueError: the item or the options cannot be used.
        """
        graded: Grade = self.submit(kind, item, options=options, group=group).result()
        return graded

    def grade_group(
        self,
        kind: str,
        items: Sequence[Item],
        *,
        options: Options | None = None,
        group: str = "",
    ) -> list[Grade]:
        """Grades of items that a grader compares with each other, or that are merely together.

        Raises as `grade`.
        """
        for item in items:
            check_item(kind, item)
        if is_joint(kind):
            chosen = self._chosen(kind, options)
            whole = self._pool(kind).submit(items, chosen, group, is_group=True)
            joint: list[Grade] = whole.result()
            return joint
        futures = [self.submit(kind, item, options=options, group=group) for item in items]
        return [future.result() for future in futures]

    def prepare(self, kind: str, options: Options | None = None) -> Callable[[Item], None]:
        """Make the grader now, so that what is wrong with it is told before the first item.

        Returns:
            What refuses an item that this grader cannot use (`Grader.check`), in a ValueError.

        Raises:
            ValueError: no such kind or option, or an option's value is unusable.
            EpisodeError: what the grader needs cannot be had on this machine.
        """
        return self._pool(kind).prepare(self._chosen(kind, options)).check

    def _chosen(self, kind: str, options: Options | None) -> Options:
        return {**self._usual(kind).options, **(options or {})}

    def _usual(self, kind: str) -> Usual:
        return Usual() if self._rewards is None else find(kind).usual(self._rewards)

    def metrics(self) -> dict[str, float]:
        """Figures since the last call, under "grade/<kind>/": see `Meter.take`."""
        return self._meter.take()

    def close(self) -> None:
        """End all graders; what waits fails. Safe to call twice."""
        with self._lock:
            self._is_closed = True
            pools = list(self._pools.values())
        for pool in pools:
            pool.close()

    def __enter__(self) -> GradingService:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _pool(self, kind: str) -> Pool:
        kind = resolve(kind)
        with self._lock:
            if self._is_closed:
                raise GraderError("the grading service is closed")
            if kind not in self._pools:
                config = self._sizes.get(kind) or PoolConfig(**self._usual(kind).sizes)
                self._pools[kind] = Pool(kind, config, self._meter)
            return self._pools[kind]
