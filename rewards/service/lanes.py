"""Lanes: threads that take gradings from a fair queue and see each of them to an end, in time.

A thread that never comes back cannot be killed. At the deadline its grading is answered with a
failure, another thread takes its place, and it ends by itself should it ever return. At most
`MOST_LOST` may be left behind; beyond, gradings wait and fail at their deadline, which says why.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

from munro.rewards.errors import EpisodeError, GraderError
from munro.rewards.kinds import Item
from munro.rewards.service.fair_queue import Closed, FairQueue
from munro.rewards.service.meter import Meter

MOST_LOST = 64
"""Threads of one kind that may outlive their deadline."""
FEW = 64
"""Answered gradings, texts and all, that may stay in memory until their deadline."""


@dataclass(slots=True, eq=False)
class Job:
    """One grading on its way: what is asked, and what was answered."""

    items: list[Item]
    options: Mapping[str, Any]
    group: str
    is_group: bool = False
    """The items are graded together."""
    future: Future[Any] = field(default_factory=Future)
    digest: bytes = b""
    was_poison: bool = False
    submitted: float = 0.0
    deadline: float = 0.0
    taken: float = 0.0
    """When a lane took it, monotonic seconds; 0 while it waits."""
    is_left: bool = False
    """Its lane is done with it, in time or not."""

    @property
    def remaining_s(self) -> float:
        """Until the deadline."""
        return self.deadline - time.monotonic()


class Lanes:
    """The threads of one kind, and the queue before them."""

    def __init__(
        self,
        kind: str,
        work: Callable[[Job], Any],
        meter: Meter,
        *,
        lanes: int,
        capacity: int,
        deadline_s: float,
    ) -> None:
        """Threads start with the first job.

        Args:
            kind: for messages, thread names and the meter.
            work: grades a job, in the lane's thread.
            meter: counts what ended.
            lanes: gradings at the same moment.
            capacity: gradings that may wait.
            deadline_s: from `put` to an answer.
        """
        self._kind, self._work, self._meter = kind, work, meter
        self._num_lanes, self._deadline_s = lanes, deadline_s
        self._queue: FairQueue[Job] = FairQueue(capacity=capacity, takers=lanes)
        self._lock = threading.Lock()
        self._watch = threading.Condition(self._lock)
        self._deadlines: list[tuple[float, int, Job]] = []
        self._most_kept = FEW
        self._numbers = itertools.count()
        self._lost: set[Job] = set()
        self._is_started = False
        self._is_closed = False

    def put(self, job: Job) -> None:
        """Let a job in; waits while there is no room.

        Raises:
            Full: there was none before the deadline.
            Closed: the lanes are closed.
        """
        job.submitted = time.monotonic()
        job.deadline = job.submitted + self._deadline_s
        self._start()
        self._queue.put(job.group, job, timeout_s=self._deadline_s)
        with self._watch:
            if len(self._deadlines) > self._most_kept:
                self._deadlines = [each for each in self._deadlines if not each[2].future.done()]
                heapq.heapify(self._deadlines)
                self._most_kept = 2 * len(self._deadlines) + FEW
            heapq.heappush(self._deadlines, (job.deadline, next(self._numbers), job))
            if self._deadlines[0][2] is job:
                self._watch.notify()

    def close(self) -> None:
        """Give no more out; what waits or is under way is answered with a failure."""
        with self._watch:
            self._is_closed = True
            jobs = [job for _, _, job in self._deadlines]
            self._watch.notify()
        for job in {*jobs, *self._queue.close()}:
            self._answer(job, failure=GraderError("the grading service was closed meanwhile"))

    def _start(self) -> None:
        with self._lock:
            if self._is_started:
                return
            self._is_started = True
        for _ in range(self._num_lanes):
            self._thread(self._run)
        self._thread(self._keep_time)

    def _thread(self, target: Callable[[], None]) -> None:
        threading.Thread(target=target, daemon=True, name=f"grade {self._kind}").start()

    def _run(self) -> None:
        """One lane.

        takes    a job from the queue    waits: while there is none
        makes    its future's result     waits: for the grader, however long
        """
        while True:
            try:
                group, job = self._queue.take()
            except Closed:
                return
            if job.remaining_s > 0:
                job.taken = time.monotonic()
                self._serve(job)
            self._queue.done(group, job, was_poison=job.was_poison)
            with self._lock:
                job.is_left = True
                if job in self._lost:
                    self._lost.discard(job)
                    return  # another thread has this one's place

    def _serve(self, job: Job) -> None:
        try:
            answer = self._work(job)
        except (EpisodeError, ValueError) as failure:
            self._answer(job, failure=failure)
        except BaseException as error:  # noqa: BLE001 - the boundary: a grader's bug has a name too
            bug = GraderError(
                f"{self._kind}: the grader raised {type(error).__name__}: {error}"[:500]
            )
            bug.__cause__ = error
            self._answer(job, failure=bug)
        else:
            self._answer(job, answer)

    def _keep_time(self) -> None:
        """Answer those whose deadline passes.

        takes    jobs in the order of their deadlines    waits: for the next one, or a new job
        """
        while True:
            with self._watch:
                while self._deadlines and self._deadlines[0][2].future.done():
                    heapq.heappop(self._deadlines)
                if self._is_closed:
                    return
                now = time.monotonic()
                if not self._deadlines or self._deadlines[0][0] > now:
                    self._watch.wait(self._deadlines[0][0] - now if self._deadlines else None)
                    continue
                _, _, job = heapq.heappop(self._deadlines)
            self._give_up(job)

    def _give_up(self, job: Job) -> None:
        if self._queue.withdraw(job.group, job) or not job.taken:
            reason = (
                f"no grader came free within {self._deadline_s:g} s. Raise "
                f"rewards.service.pools.{self._kind}.workers or .deadline_s"
            )
        else:
            job.was_poison = True
            reason = f"no grade within {self._deadline_s:g} s"
        if not self._answer(job, failure=GraderError(f"{self._kind}: {reason}")) or not job.taken:
            return
        with self._lock:
            is_stuck = not (job.is_left or self._is_closed)
            is_replaced = is_stuck and len(self._lost) < MOST_LOST
            if is_replaced:
                self._lost.add(job)
        if is_replaced:
            self._queue.done(job.group, job, was_poison=True)
            self._thread(self._run)

    def _answer(self, job: Job, answer: Any = None, failure: Exception | None = None) -> bool:
        """Settle a job's future; False where it was settled before."""
        try:
            if failure is None:
                job.future.set_result(answer)
            else:
                job.future.set_exception(failure)
        except InvalidStateError:
            return False
        now = time.monotonic()
        self._meter.count(
            self._kind,
            queue_s=(job.taken or now) - job.submitted,
            seconds=now - job.taken if job.taken else 0.0,
            failed=failure is not None,
        )
        return True
