"""Killable child processes: for work that a model's text may make endless, huge or fatal.

A pool runs named functions (`"package.module:function"`) on JSON-like arguments. Each child has
limits on memory and CPU time, writes no core, inherits no environment, dies with its parent
(PR_SET_PDEATHSIG), and is killed when a job outlives its wall-clock limit. It is replaced in
milliseconds, by a fork of a process that has all imports done (`munro.rewards.workers.process`).

A pool may be used from any number of threads, from a plain script and from inside a Ray actor: the
template is started by `subprocess` with its own main, never by forking this process.

    takes    (function, args)                  waits: while every child is busy
    makes    an Outcome: a value, or why not   waits: at most the job's limit (twice after a death)
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any

from munro.rewards.errors import GraderError
from munro.rewards.workers.process import START_TIMEOUT_S, Child, Gone, Late, Template

JOBS_PER_CHILD = 5000
TEMPLATE_TRIES = 4
IDLE = 0.1
"""Share of its CPU time below which a job that ran out of wall time was idle."""


class Status(StrEnum):
    """How a job ended."""

    DONE = "done"
    RAISED = "raised"
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    DIED = "died"
    TOO_LARGE = "too large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a job. Anything but DONE says something about its input, or that it was idle.

    Example:
        Outcome(status=Status.TIMED_OUT, detail="no answer within 5 s")
    """

    status: Status
    value: Any = None
    """What the function returned, as JSON gives it back; None unless DONE."""
    detail: str = ""
    """One line for a person."""
    was_idle: bool = False
    """TIMED_OUT by the clock with hardly any CPU time: it waited for something, or the machine was
    too busy to run it."""


class WorkerPool:
    """At most `size` jobs at once, each in a child process of its own.

    Example:
        with WorkerPool(size=2, timeout_s=1, memory_mb=512) as pool:
            pool.run("math:factorial", 5)        # Outcome(status=DONE, value=120)
            pool.run("time:sleep", 60)           # Outcome(status=TIMED_OUT, ...), after 1 s
    """

    def __init__(
        self,
        *,
        size: int,
        timeout_s: float,
        memory_mb: int,
        cpu_s: float | None = None,
        preload: Sequence[str | Sequence[str]] = (),
        sealed: bool = True,
        max_input_bytes: int = 1 << 20,
    ) -> None:
        """Nothing is started before the first job.

        Args:
            size: jobs that may run at the same moment.
            timeout_s: wall seconds a job may take, unless `run` says otherwise.
            memory_mb: address space of a child, MiB; 0 for no bound.
            cpu_s: CPU seconds a job may take; its wall seconds where not given. A machine that is
                busy with other work stretches wall time and not this.
            preload: functions, called once before any child is forked, each by its name or as a
                list of its name and arguments; or modules, imported then. They must leave no thread
                running.
            sealed: refuse processes, sockets and writing files inside the children.
            max_input_bytes: jobs whose arguments are larger as JSON are not run.
        """
        self._size = size
        self._timeout_s = timeout_s
        self._cpu_s = cpu_s
        self._max_input_bytes = max_input_bytes
        self._settings = {
            "path": [os.path.abspath(entry) for entry in sys.path],
            "parent": os.getpid(),
            "memory_bytes": memory_mb << 20,
            "sealed": sealed,
            "preload": list(preload),
        }
        self._slots = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: deque[Child] = deque()
        self._busy: set[Child] = set()
        self._template: Template | None = None
        self._template_lock = threading.Lock()
        self._is_closed = False
        # callers' threads end at any time: the template is started by one that lasts
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="worker-starter")
        atexit.register(self.close)

    def run(self, function: str, *args: Any, timeout_s: float | None = None) -> Outcome:
        """Call `function(*args)` in a child.

        A child that dies is replaced and the job tried once more in a new one, so that an accident
        of the machine is not taken for a property of the input.

        Args:
            function: `"package.module:function"`, importable in the child.
            args: anything JSON can say.
            timeout_s: wall seconds for this job.

        Raises:
            GraderError: no child could be started, or the pool is closed.
        """
        limit = self._timeout_s if timeout_s is None else timeout_s
        request = {"function": function, "args": args, "cpu_s": self._cpu_s or limit}
        if sum(map(_size_bytes, args)) > self._max_input_bytes:
            return Outcome(
                status=Status.TOO_LARGE, detail=f"input over {self._max_input_bytes:,} bytes"
            )
        with self._slots:
            outcome, was_fresh = self._attempt(request, limit)
            retry = {Status.DIED} if was_fresh else {Status.DIED, Status.OUT_OF_MEMORY}
            if outcome.status in retry:
                outcome, _ = self._attempt(request, limit, is_retry=True)
        return outcome

    def warm(self) -> None:
        """Start every child now and return when they can take jobs.

        Raises:
            GraderError: a child could not be started.
        """
        while len(self._idle) + len(self._busy) < self._size:
            child = self._start()
            with self._lock:
                self._busy.discard(child)
                self._idle.append(child)

    def close(self) -> None:
        """End all children, those at work too. Safe to call twice."""
        with self._lock:
            self._is_closed = True
            idle, busy = list(self._idle), list(self._busy)
            self._idle.clear()
        for child in busy:
            child.end()  # the thread that waits for it sees the end and cleans up
        for child in idle:
            child.kill()
        self._starter.shutdown(wait=True)
        with self._template_lock:
            if self._template is not None:
                self._template.kill()
        atexit.unregister(self.close)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Process ids at this moment: the template's, where there is one, then the children's."""
        template = self._template
        with self._lock:
            children = [child.pid for child in (*self._idle, *self._busy)]
        return children if template is None else [template.pid, *children]

    def _attempt(
        self, request: dict[str, Any], limit: float, *, is_retry: bool = False
    ) -> tuple[Outcome, bool]:
        """The outcome, and whether the child had been new."""
        child = self._take(is_new=is_retry)
        is_fresh = child.num_jobs == 0
        before_s = child.cpu_s()
        try:
            reply = child.ask(request, limit)
        except Late:
            was_idle = child.cpu_s() - before_s < IDLE * request["cpu_s"]
            self._discard(child)
            late = f"no answer within {limit:g} s"
            return Outcome(status=Status.TIMED_OUT, detail=late, was_idle=was_idle), True
        except Gone:
            self._discard(child)
            if child.returncode == -signal.SIGPROF:
                return Outcome(status=Status.TIMED_OUT, detail="out of CPU time"), True
            return Outcome(status=Status.DIED, detail="the worker process died"), is_fresh
        except BaseException:
            self._discard(child)
            raise
        if reply.get("error") == "memory":
            self._discard(child)
            return Outcome(status=Status.OUT_OF_MEMORY, detail=reply["detail"]), is_fresh
        self._give_back(child, retire=reply.get("retire", False))
        if "error" in reply:
            return Outcome(status=Status.RAISED, detail=reply["detail"]), is_fresh
        return Outcome(status=Status.DONE, value=reply["value"]), is_fresh

    def _take(self, *, is_new: bool) -> Child:
        """A child that was alive a moment ago: an idle one, or a new one."""
        while not is_new:
            with self._lock:
                self._refuse_if_closed()
                if not self._idle:
                    break
                child = self._idle.popleft()
                self._busy.add(child)
            if child.is_alive:
                return child
            self._discard(child)
        return self._start()

    def _start(self) -> Child:
        """A new child, among the busy ones. A template that died is replaced, once."""
        for _ in range(2):
            template = self._ready_template()
            try:
                child = template.fork()
            except (Gone, Late):
                template.kill()
                continue
            with self._lock:
                self._busy.add(child)
                is_closed = self._is_closed
            if is_closed:
                self._discard(child)
            self._refuse_if_closed()
            return child
        raise GraderError("a worker process could not be started: its template dies at once")

    def _ready_template(self) -> Template:
        """The template, started where there is none; one that is killed as it starts, again."""
        with self._template_lock:
            for again in range(TEMPLATE_TRIES):
                self._refuse_if_closed()
                if self._template is not None and self._template.is_alive:
                    return self._template
                if self._template is not None:
                    self._template.kill()
                    self._template = None
                try:
                    start = self._starter.submit(Template, self._settings)
                    template = start.result(timeout=START_TIMEOUT_S)
                except (OSError, RuntimeError, TimeoutError) as failure:
                    raise GraderError(
                        f"a worker process could not be started: {failure}"
                    ) from failure
                try:
                    template.wait_until_ready()
                    self._template = template
                except GraderError:
                    if not template.was_killed or again + 1 == TEMPLATE_TRIES:
                        raise
        raise GraderError("a worker process could not be started: it is killed as soon as it is up")

    def _give_back(self, child: Child, *, retire: bool) -> None:
        with self._lock:
            is_wanted = not (
                retire
                or self._is_closed
                or child.num_jobs >= JOBS_PER_CHILD
                or len(self._idle) + len(self._busy) > self._size
            )
            if is_wanted:
                self._busy.discard(child)
                self._idle.appendleft(child)
        if not is_wanted:
            self._discard(child)

    def _discard(self, child: Child) -> None:
        child.kill()
        with self._lock:
            self._busy.discard(child)

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise GraderError("the worker pool is closed")


def _size_bytes(value: Any) -> int:
    """Size as JSON, at most: cheap for the strings that are the usual input."""
    if isinstance(value, str):
        return len(value)
    return len(json.dumps(value))
