"""Killable child processes: for work that a model's text may make endless, huge or fatal.

A pool runs named functions (`"package.module:function"`) on JSON-like arguments. Each child has
limits on memory and CPU time, writes no core, inherits no environment, dies with its parent
(PR_SET_PDEATHSIG), and is killed and replaced when a job outlives its wall-clock limit. One spare
child beyond the pool's size is kept warm, so that the next job does not wait for a start.

A pool may be used from any number of threads, from a plain script and from inside a Ray actor: the
children are started by `subprocess` with their own main, never by forking this process.

    takes    (function, args)                  waits: while every child is busy
    makes    an Outcome: a value, or why not   waits: at most the job's limit (twice after a death)
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from rewards.errors import GraderError

CHILD = Path(__file__).with_name("worker_child.py")
_Started = TypeVar("_Started")

START_TIMEOUT_S = 120.0
MAX_REPLY_BYTES = 4 << 20
JOBS_PER_CHILD = 5000


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
    """What became of a job. Anything but DONE says something about its input.

    Example:
        Outcome(status=Status.TIMED_OUT, detail="no answer within 5 s")
    """

    status: Status
    value: Any = None
    """What the function returned, as JSON gives it back; None unless DONE."""
    detail: str = ""
    """One line for a person."""


class _Gone(Exception):
    """The child closed its pipe: it is dead or dying."""


class _Late(Exception):
    """The deadline passed while waiting for the child."""


class _Child:
    """One process and its two pipes. Used by one thread at a time."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            # isolated: neither the working directory nor PYTHON* variables shadow a module
            [sys.executable, "-I", "-B", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C in the terminal is the parent's business
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in = self.process.stdin.fileno()
        self._out = self.process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self.num_jobs = 0
        self._is_ready = False
        try:
            self._send(settings, time.monotonic() + START_TIMEOUT_S)
        except (_Gone, _Late) as failure:
            self.kill()
            raise GraderError("a worker process died as it was started") from failure

    def wait_until_ready(self) -> None:
        """Return once the child has imported what it needs.

        Raises:
            GraderError: it could not, or took longer than START_TIMEOUT_S.
        """
        if self._is_ready:
            return
        try:
            reply = self._receive(time.monotonic() + START_TIMEOUT_S)
        except _Late as late:
            self.kill()
            raise GraderError(
                f"a worker process was not ready after {START_TIMEOUT_S:g} s"
            ) from late
        except _Gone as gone:
            reply, cause = {"fatal": self._last_words()}, gone
            self.kill()
            raise GraderError(f"a worker process would not start: {reply['fatal']}") from cause
        if "fatal" in reply:
            self.kill()
            raise GraderError(f"a worker process would not start: {reply['fatal']}")
        self._is_ready = True
        assert self.process.stderr is not None
        self.process.stderr.close()

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """One job, there and back.

        Raises:
            _Late, _Gone: and the child is of no more use.
        """
        self.num_jobs += 1
        deadline = time.monotonic() + timeout_s
        self._send(request, deadline)
        return self._receive(deadline)

    def kill(self) -> None:
        """End the process now, unless it has ended, and free its pipes. Safe to call twice."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    @property
    def is_alive(self) -> bool:
        """False once the process has ended by itself."""
        return self.process.poll() is None

    def _last_words(self) -> str:
        self.process.kill()
        assert self.process.stderr is not None
        words = self.process.stderr.read(1 << 16).decode(errors="replace").strip()
        return words.splitlines()[-1] if words else f"exit code {self.process.wait()}"

    def _send(self, frame: dict[str, Any], deadline: float) -> None:
        body = json.dumps(frame).encode("ascii")
        rest = memoryview(struct.pack(">I", len(body)) + body)
        while rest:
            _await(self._in, select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._in, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as broken:
                raise _Gone from broken

    def _receive(self, deadline: float) -> dict[str, Any]:
        (size,) = struct.unpack(">I", self._read(4, deadline))
        if size > MAX_REPLY_BYTES:
            raise _Gone
        frame: dict[str, Any] = json.loads(self._read(size, deadline))
        return frame

    def _read(self, size: int, deadline: float) -> bytes:
        chunks = []
        while size:
            _await(self._out, select.POLLIN, deadline)
            try:
                chunk = os.read(self._out, size)
            except BlockingIOError:
                continue
            if not chunk:
                raise _Gone
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)


def _await(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    remaining = deadline - time.monotonic()
    if remaining <= 0 or not poll.poll(remaining * 1000):
        raise _Late


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
        preload: Sequence[str] = (),
        sealed: bool = True,
        max_input_bytes: int = 1 << 20,
    ) -> None:
        """Nothing is started before the first job.

        Args:
            size: jobs that may run at the same moment.
            timeout_s: wall seconds a job may take, unless `run` says otherwise.
            memory_mb: address space of a child, MiB.
            cpu_s: CPU seconds a job may take; its wall seconds where not given. A machine that is
                busy with other work stretches wall time and not this.
            preload: functions without arguments that a child calls before it is ready.
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
        self._spares: deque[_Child] = deque()
        self._busy: set[_Child] = set()
        self._is_closed = False
        # Linux sends the parent-death signal when the *thread* that started a child ends, and
        # callers' threads end at any time: one thread that lasts as long as the pool starts all
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
        self._on_starter(lambda: self._add_spares(self._size + 1))
        with self._lock:
            children = list(self._spares)
        for child in children:
            child.wait_until_ready()

    def close(self) -> None:
        """End all children, those at work too. Safe to call twice."""
        with self._lock:
            self._is_closed = True
            for child in self._busy:
                child.process.kill()  # the thread that waits for it sees the end and cleans up
        self._starter.shutdown(wait=True)
        with self._lock:
            children = list(self._spares)
            self._spares.clear()
            stray = list(self._busy)
        for child in children:
            child.kill()
        for child in stray:
            child.process.kill()  # started while this pool was being closed
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
        """Process ids of the children alive at this moment."""
        with self._lock:
            return [child.process.pid for child in (*self._spares, *self._busy)]

    def _attempt(
        self, request: dict[str, Any], limit: float, *, is_retry: bool = False
    ) -> tuple[Outcome, bool]:
        """The outcome, and whether the child had been new."""
        child = self._take(is_new=is_retry)
        is_fresh = child.num_jobs == 0
        try:
            reply = child.ask(request, limit)
        except _Late:
            self._discard(child)
            return Outcome(status=Status.TIMED_OUT, detail=f"no answer within {limit:g} s"), True
        except _Gone:
            self._discard(child)
            if child.process.returncode == -signal.SIGPROF:
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

    def _take(self, *, is_new: bool) -> _Child:
        """A ready child, and another one on its way if none is left in reserve."""
        while True:
            with self._lock:
                self._refuse_if_closed()
                child = self._spares.popleft() if self._spares and not is_new else None
                if child is not None:
                    self._busy.add(child)
            if child is None:
                child = self._start_busy()
            try:
                self._reserve()
                if child.is_alive:
                    child.wait_until_ready()
                    return child
                self._discard(child)
            except BaseException:
                self._discard(child)
                raise

    def _reserve(self) -> None:
        """Let the next spare warm up behind our back; should it fail, the next taker says so."""
        with self._lock:
            is_wanted = not self._spares and not self._is_closed
        if is_wanted:
            with suppress(RuntimeError):
                self._starter.submit(self._add_spares, 1)

    def _start_busy(self) -> _Child:
        """A new child for the caller, started by the starter thread."""

        def start() -> _Child:
            child = _Child(self._settings)
            with self._lock:
                self._busy.add(child)
            return child

        return self._on_starter(start)

    def _add_spares(self, num_spares: int) -> None:
        """On the starter thread: bring the reserve up to `num_spares`."""
        while len(self._spares) < num_spares and not self._is_closed:
            child = _Child(self._settings)
            with self._lock:
                self._spares.append(child)

    def _on_starter(self, start: Callable[[], _Started]) -> _Started:
        self._refuse_if_closed()
        try:
            return self._starter.submit(start).result(timeout=START_TIMEOUT_S)
        except (OSError, RuntimeError, TimeoutError) as failure:
            raise GraderError(f"a worker process could not be started: {failure}") from failure

    def _give_back(self, child: _Child, *, retire: bool) -> None:
        if retire or child.num_jobs >= JOBS_PER_CHILD:
            self._discard(child)
            return
        with self._lock:
            self._busy.discard(child)
            # warm children first: a spare that is still importing would make the next job wait
            self._spares.appendleft(child)
            surplus = [self._spares.pop()] if len(self._spares) > self._size + 1 else []
            if self._is_closed:
                surplus += self._spares
                self._spares.clear()
        for each in surplus:
            each.kill()

    def _discard(self, child: _Child) -> None:
        with self._lock:
            self._busy.discard(child)
        child.kill()

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise GraderError("the worker pool is closed")


def _size_bytes(value: Any) -> int:
    """Size as JSON, at most: cheap for the strings that are the usual input."""
    if isinstance(value, str):
        return len(value)
    return len(json.dumps(value))
