"""Graders of one kind: a queue, lanes that work it off, and killable processes where it takes them.

An input that outlives its time or kills its grader twice is refused from then on.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from hashlib import blake2b
from typing import Any

from munro.rewards.config import PoolConfig
from munro.rewards.errors import EpisodeError, GraderError
from munro.rewards.kinds import (
    STRETCH,
    Grader,
    Item,
    Options,
    check_options,
    find,
    graded,
    label,
    make,
    takes,
)
from munro.rewards.service.fair_queue import Closed, Full
from munro.rewards.service.lanes import Job, Lanes
from munro.rewards.service.meter import Meter
from munro.rewards.types import Grade
from munro.rewards.workers import Status, WorkerPool

IN_CHILD = "munro.rewards.service.children:grade_in_child"
FIND = "munro.rewards.kinds:find"
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


class Pool:
    """Graders of one kind: its queue, its lanes, its processes."""

    def __init__(self, kind: str, config: PoolConfig, meter: Meter) -> None:
        about = find(kind).kind
        self._kind, self._label = kind, label(kind)
        self._about, self._config = about, config
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
                preload=[IN_CHILD.partition(":")[0], (FIND, kind)],
                max_input_bytes=32 << 20,
            )
        self._lanes = Lanes(
            self._label,
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
                raise GraderError(f"{self._label}: this input has killed its grader twice before")
        try:
            self._lanes.put(job)
        except Full:
            raise GraderError(
                f"{self._label}: no room in the queue within {self._config.deadline_s:g} s. Raise "
                f"rewards.service.pools.{self._label}.workers"
            ) from None
        except Closed:
            raise GraderError("the grading service is closed") from None
        return job.future

    def prepare(self, options: Options) -> Grader:
        check_options(self._kind, options)
        grader = self._grader(options)
        if self._children is not None:  # they grade; what is made here only checks items
            self._children.warm()
        return grader

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
                return graded(grader.grade(job.items[0]))
            except EpisodeError:
                if again + 1 == self._about.tries or job.was_poison or job.remaining_s <= 0:
                    raise
                time.sleep(PAUSE_S * again)  # what broke may need a moment to be whole again
        raise AssertionError("the last try returns or raises")

    def _in_child(self, job: Job, children: WorkerPool) -> Grade:
        wall_s = STRETCH * self._timeout_s
        timeout_s = max(min(wall_s, job.remaining_s), 0.01)
        outcome = children.run(IN_CHILD, self._kind, job.options, job.items[0], timeout_s=timeout_s)
        if outcome.status is not Status.DONE:
            if outcome.status in (Status.DIED, Status.OUT_OF_MEMORY):
                self._strike(job, 2)  # it was tried again already, in a new process
            elif outcome.status is Status.TIMED_OUT and timeout_s == wall_s:  # not cut short
                self._strike(job, 1)
            ending = ENDINGS[outcome.status]
            raise GraderError(f"{self._label}: the grading {ending} ({outcome.detail})")
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
                known = takes(self._kind)
                wanted = {name: value for name, value in sizes.items() if name in known}
                self._graders[key] = make(self._kind, **{**wanted, **options})
            return self._graders[key]


def _digest(job: Job) -> bytes:
    text = json.dumps([list(map(dict, job.items)), job.options], sort_keys=True)
    return blake2b(text.encode(), digest_size=16).digest()
