"""The grading service: items of any kind in, for each a `Grade` or a named failure, in time.

    grade(kind, item) ──► queue of that kind, fair to groups ──► lane ──► grader ──► Grade
                            │ full: wait at the door               │ died or failed: once more
                            └───────── deadline ───────────────────┴──► GraderError, with a reason

Every kind has its own queue, its own lanes (threads) and its own processes, so that one kind cannot
hold up another. An input that outlives its time or kills its grader twice is refused from then on.
A grader that never comes back loses its lane, which is replaced; the caller hears of it at the
deadline. Works without Ray; `munro.rewards.service.cluster` puts services on other machines.

    with GradingService() as service:
        service.grade("math", {"response": "<answer>2/4</answer>", "answer": "0.5"}).passed
"""

from __future__ import annotations

import inspect
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from hashlib import blake2b
from types import TracebackType
from typing import Any, Protocol, Self

from munro.rewards.config import PoolConfig, RewardsConfig, ServiceConfig
from munro.rewards.errors import EpisodeError, GraderError
from munro.rewards.kinds import (
    STRETCH,
    Grader,
    Item,
    check_item,
    check_options,
    factory_of,
    kind_of,
    make,
)
from munro.rewards.service.fair_queue import Closed, Full
from munro.rewards.service.lanes import Job, Lanes
from munro.rewards.service.meter import Meter
from munro.rewards.types import Grade
from munro.rewards.workers import Status, WorkerPool

__all__ = ["GradingService", "Service", "close", "current", "grade", "grader", "use"]

IN_CHILD = "munro.rewards.service.graders:grade_in_child"
PAUSE_S = 0.2
MOST_POISON = 10_000
"""Poisoned inputs remembered; the oldest are forgotten first."""
ENDINGS = {
    Status.TIMED_OUT: "ran out of time",
    Status.OUT_OF_MEMORY: "ran out of memory",
    Status.DIED: "killed its process twice",
    Status.RAISED: "raised an error",
    Status.TOO_LARGE: "was not begun",
}
Options = Mapping[str, Any]


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
        self, config: ServiceConfig | None = None, usual: Mapping[str, Options] | None = None
    ) -> None:
        """Nothing is started before the first item.

        Args:
            config: sizes, by kind.
            usual: options of graders by kind, where an item does not come with others.
        """
        self._config = config or ServiceConfig()
        self._usual = usual or {}
        self._meter = Meter()
        self._lock = threading.Lock()
        self._pools: dict[str, _Pool] = {}
        self._is_closed = False

    @classmethod
    def of(cls, rewards: RewardsConfig) -> Self:
        """A service as `[rewards]` in the TOML says: its sizes, its sandbox and its judge."""
        usual: dict[str, dict[str, Any]] = {"code": {"sandbox": rewards.sandbox.model_dump()}}
        if rewards.judge:
            usual["math"] = {"judge": rewards.judge}
        sizes = {"workers": rewards.workers, "timeout_s": rewards.timeout_s}
        pools = {
            "math": PoolConfig(**sizes, memory_mb=rewards.memory_mb),
            "code": PoolConfig(workers=rewards.workers),
            **rewards.service.pools,
        }
        return cls(rewards.service.model_copy(update={"pools": pools}), usual)

    def submit(
        self, kind: str, item: Item, *, options: Options | None = None, group: str = ""
    ) -> Future[Grade]:
        """Hand in one item; waits while the queue has no room.

        Args:
            kind: a name of `munro.rewards.kinds.KINDS`.
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

    def prepare(self, kind: str, options: Options | None = None) -> None:
        """Make the grader now, so that what is wrong with it is told before the first item.

        Raises:
            ValueError: no such kind or option, or an option's value is unusable.
            EpisodeError: what the grader needs cannot be had on this machine.
        """
        self._pool(kind).prepare(self._chosen(kind, options))

    def _chosen(self, kind: str, options: Options | None) -> Options:
        return {**self._usual.get(kind, {}), **(options or {})}

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

    def _pool(self, kind: str) -> _Pool:
        with self._lock:
            if self._is_closed:
                raise GraderError("the grading service is closed")
            if kind not in self._pools:
                config = self._config.pools.get(kind, PoolConfig())
                self._pools[kind] = _Pool(kind, config, self._meter)
            return self._pools[kind]


class _Pool:
    """Graders of one kind: its queue, its lanes, its processes."""

    def __init__(self, kind: str, config: PoolConfig, meter: Meter) -> None:
        about = kind_of(kind)
        self._kind, self._about, self._config = kind, about, config
        self._workers = config.workers or about.workers
        self._timeout_s = config.timeout_s or about.timeout_s
        self._memory_mb = config.memory_mb or about.memory_mb
        self._lock = threading.Lock()
        self._graders: dict[str, Grader] = {}
        self._strikes: OrderedDict[bytes, int] = OrderedDict()
        self._children: WorkerPool | None = None
        if not about.in_process:
            self._children = WorkerPool(
                size=self._workers,
                timeout_s=STRETCH * self._timeout_s,
                cpu_s=self._timeout_s,
                memory_mb=self._memory_mb,
                preload=[about.factory.partition(":")[0], IN_CHILD.partition(":")[0]],
                max_input_bytes=32 << 20,
            )
        self._lanes = Lanes(
            kind,
            self._work,
            meter,
            lanes=self._workers,
            capacity=config.queue,
            deadline_s=config.deadline_s,
        )

    def submit(
        self, items: Sequence[Item], options: Options, group: str, *, is_group: bool = False
    ) -> Future[Any]:
        check_options(self._kind, options)
        job = Job(items=list(items), options=dict(options), group=group, is_group=is_group)
        if self._children is not None:  # the others bound what a poisoned input can do themselves
            job.digest = _digest(job)
            if self._strikes.get(job.digest, 0) >= 2:
                raise GraderError(f"{self._kind}: this input has killed its grader twice before")
        try:
            self._lanes.put(job)
        except Full:
            raise GraderError(
                f"{self._kind}: no room in the queue within {self._config.deadline_s:g} s. Raise "
                f"rewards.service.pools.{self._kind}.workers"
            ) from None
        except Closed:
            raise GraderError("the grading service is closed") from None
        return job.future

    def prepare(self, options: Options) -> None:
        check_options(self._kind, options)
        if self._children is not None:
            make(self._kind, **options).close()
            self._children.warm()
        else:
            self._grader(options)

    def close(self) -> None:
        self._lanes.close()
        if self._children is not None:
            self._children.close()
        with self._lock:
            graders = list(self._graders.values())
            self._graders.clear()
        for grader in graders:
            grader.close()

    def _work(self, job: Job) -> Any:
        """Grade a job's items, again after a failure of the machinery."""
        for again in range(self._about.tries):
            try:
                if self._children is not None:
                    return self._in_child(job, self._children)
                grader = self._grader(job.options)
                if job.is_group:
                    return grader.grade_group(job.items)  # type: ignore[attr-defined]
                return grader.grade(job.items[0])
            except EpisodeError:
                if again + 1 == self._about.tries or job.was_poison or job.remaining_s <= 0:
                    raise
                time.sleep(PAUSE_S * again)  # what broke may need a moment to be whole again
        raise AssertionError("the last try returns or raises")

    def _in_child(self, job: Job, children: WorkerPool) -> Grade:
        wall_s = STRETCH * self._timeout_s
        timeout_s = max(min(wall_s, job.remaining_s), 0.01)
        outcome = children.run(
            IN_CHILD, self._about.factory, job.options, job.items[0], timeout_s=timeout_s
        )
        if outcome.status is not Status.DONE:
            if outcome.status in (Status.DIED, Status.OUT_OF_MEMORY):
                self._strike(job, 2)  # it was tried again already, in a new process
            elif outcome.status is Status.TIMED_OUT and timeout_s == wall_s:  # not cut short
                self._strike(job, 1)
            ending = ENDINGS[outcome.status]
            raise GraderError(f"{self._kind}: the grading {ending} ({outcome.detail})")
        said = outcome.value
        if "grade" in said:
            return Grade(**said["grade"])
        failure = ValueError if said["is_value_error"] else GraderError
        raise failure(said["failure"])

    def _strike(self, job: Job, num: int) -> None:
        job.was_poison = True
        with self._lock:
            self._strikes[job.digest] = self._strikes.pop(job.digest, 0) + num
            if len(self._strikes) > MOST_POISON:
                self._strikes.popitem(last=False)

    def _grader(self, options: Options) -> Grader:
        """The one grader in this process for these options."""
        key = json.dumps(options, sort_keys=True, default=repr)
        with self._lock:
            if key not in self._graders:
                sizes = {
                    "workers": self._workers,
                    "timeout_s": self._timeout_s,
                    "memory_mb": self._memory_mb,
                }
                known = inspect.signature(factory_of(self._kind)).parameters
                wanted = {name: value for name, value in sizes.items() if name in known}
                self._graders[key] = make(self._kind, **{**wanted, **options})
            return self._graders[key]


def _digest(job: Job) -> bytes:
    text = json.dumps([list(map(dict, job.items)), job.options], sort_keys=True)
    return blake2b(text.encode(), digest_size=16).digest()


def is_joint(kind: str) -> bool:
    """Whether graders of that kind compare items with each other."""
    return hasattr(factory_of(kind), "grade_group")


class _Served(Grader):
    """A grader that hands its items to a service."""

    def __init__(self, kind: str, options: Options) -> None:
        self._kind, self._options = kind, options

    def grade(self, item: Item) -> Grade:
        """As the grader itself, in its turn."""
        return current().grade(self._kind, item, options=self._options, group=_group_of(item))


class _ServedJointly(_Served):
    """The same for a kind that compares items."""

    def grade_group(self, items: Sequence[Item]) -> list[Grade]:
        """As the grader itself, in its turn."""
        group = _group_of(items[0]) if items else ""
        return current().grade_group(self._kind, items, options=self._options, group=group)


def grader(kind: str, /, **options: Any) -> Grader:
    """A grader of that kind that works through the service of this process.

    As `munro.rewards.kinds.make`. The queue is fair to tasks, by the `task_id` of items.

    Raises:
        ValueError: no such kind or option.
    """
    check_options(kind, options)
    return (_ServedJointly if is_joint(kind) else _Served)(kind, options)


def grade(kind: str, item: Item, *, group: str = "", **options: Any) -> Grade:
    """The grade of one item, through the service of this process.

    Raises:
        EpisodeError: there is none; says why.
        ValueError: the item or the options cannot be used.

    Example:
        grade("math", {"response": "<answer>42</answer>", "answer": "42"}).passed    # True
    """
    return current().grade(kind, item, options=options, group=group)


def _group_of(item: Item) -> str:
    return str(item.get("task_id", ""))


_lock = threading.Lock()
_current: Service | None = None
_pid = 0


def use(service: Service) -> None:
    """Let `grade` and `grader` work through this service in this process; the one before ends."""
    global _current, _pid
    with _lock:
        before = _current if _pid == os.getpid() else None
        _current, _pid = service, os.getpid()
    if before is not None and before is not service:
        before.close()


def current() -> Service:
    """The service of this process; one with the usual sizes where nobody chose."""
    global _current, _pid
    with _lock:
        # a forked process has the parent's object, but neither its threads nor its children
        if _current is None or _pid != os.getpid():
            _current, _pid = GradingService(), os.getpid()
        return _current


def close() -> None:
    """End the service of this process; a later grading starts a new one."""
    global _current
    with _lock:
        before, _current = _current, None
    if before is not None and _pid == os.getpid():
        before.close()
