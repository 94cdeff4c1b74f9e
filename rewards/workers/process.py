"""The processes behind `munro.rewards.workers.pool`, as their parent holds them: a template and its
children.

    pool ── starts ──► template (imports done, single-threaded) ── forks ──► child, child, child
      └────────────── two pipes each: a job there, its answer back ─────────────┘

Importing SymPy takes a second of CPU time, forking a process that has it takes milliseconds: that
is what a killed child costs. The parent never forks itself, so it may have any number of threads.
Children die with the template and the template dies with its parent (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from munro.rewards.errors import GraderError

PROGRAM = Path(__file__).with_name("child.py")
START_TIMEOUT_S = 120.0
MAX_REPLY_BYTES = 4 << 20
COMMAND = struct.Struct(">ci")


class Gone(Exception):
    """The process closed its end: it is dead or dying."""


class Late(Exception):
    """The deadline passed while waiting for the process."""


class Template:
    """The process that children are forked from. Safe to use from many threads.

    Start it on a thread that lasts as long as it: Linux sends the parent-death signal when the
    *thread* that started a process ends.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._was_gone = False
        with theirs:
            self._process = subprocess.Popen(
                # isolated: neither the working directory nor PYTHON* variables shadow a module
                [sys.executable, "-I", "-B", str(PROGRAM)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C in the terminal is the parent's business
            )
        self._control.setblocking(False)
        self.pid = self._process.pid
        try:
            _send(self._control.fileno(), settings, time.monotonic() + START_TIMEOUT_S)
        except (Gone, Late) as failure:
            self.kill()
            raise GraderError("a worker process died as it was started") from failure

    def wait_until_ready(self) -> None:
        """Return once everything that children need is imported.

        Raises:
            GraderError: it could not be, or took longer than START_TIMEOUT_S.
        """
        try:
            reply = _receive(self._control.fileno(), time.monotonic() + START_TIMEOUT_S)
        except Late as late:
            self.kill()
            raise GraderError(
                f"a worker process was not ready after {START_TIMEOUT_S:g} s"
            ) from late
        except Gone as gone:
            self._was_gone = True
            reply, cause = {"fatal": self._last_words()}, gone
            self.kill()
            raise GraderError(f"a worker process would not start: {reply['fatal']}") from cause
        if "fatal" in reply:
            self.kill()
            raise GraderError(f"a worker process would not start: {reply['fatal']}")
        assert self._process.stderr is not None
        self._process.stderr.close()

    @property
    def is_alive(self) -> bool:
        """False once the process has ended."""
        return self._process.poll() is None

    @property
    def was_killed(self) -> bool:
        """It ended because somebody outside sent it SIGKILL."""
        return self._was_gone and self._process.poll() == -signal.SIGKILL

    def fork(self) -> Child:
        """A new child, ready for jobs.

        Raises:
            Gone: the template is dead.
            GraderError: the system has no room for another process.
        """
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        try:
            pid = self._command(b"f", 0, [theirs_in, theirs_out])
            if pid < 0:
                raise GraderError(f"a worker process could not be started: {os.strerror(-pid)}")
            return Child(self, pid, ours_in, ours_out)
        except BaseException:
            os.close(ours_in)
            os.close(ours_out)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)

    def reap(self, pid: int) -> int | None:
        """Let go of a child that has ended; its exit status, None where nobody knows it any more.

        Until then its process id is not given to another process.
        """
        try:
            return self._command(b"r", pid, [])
        except Gone:
            return None
        except Late:
            self._process.kill()  # its next word would be taken for the answer to another question
            return None

    def kill(self) -> None:
        """End the process, and with it all its children. Safe to call twice."""
        self._process.kill()
        self._process.wait()
        with self._lock:
            self._control.close()
            if self._process.stderr is not None:
                self._process.stderr.close()

    def _command(self, verb: bytes, pid: int, descriptors: list[int]) -> int:
        """One word there and one number back."""
        deadline = time.monotonic() + START_TIMEOUT_S
        with self._lock:
            if self._control.fileno() < 0:
                raise Gone
            try:
                socket.send_fds(self._control, [COMMAND.pack(verb, pid)], descriptors)
            except OSError as broken:
                raise Gone from broken
            (number,) = struct.unpack(">i", _read(self._control.fileno(), 4, deadline))
        return int(number)

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)  # how it ended tells who ended it
        self._process.kill()
        assert self._process.stderr is not None
        words = self._process.stderr.read(1 << 16).decode(errors="replace").strip()
        return words.splitlines()[-1] if words else f"exit code {self._process.wait()}"


class Child:
    """One process and its two pipes. Jobs are asked by one thread at a time; any may end it."""

    def __init__(self, template: Template, pid: int, requests: int, answers: int) -> None:
        self.pid = pid
        self.num_jobs = 0
        self.returncode: int | None = None
        """Exit status once it was killed; minus the signal's number where one ended it."""
        self._template = template
        self._in, self._out = requests, answers
        self._handle = _handle(pid)
        self._lock = threading.Lock()
        self._is_over = False
        self._is_open = True
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """One job, there and back.

        Raises:
            Late, Gone: and the child is of no more use.
        """
        self.num_jobs += 1
        deadline = time.monotonic() + timeout_s
        _send(self._in, request, deadline)
        return _receive(self._out, deadline)

    @property
    def is_alive(self) -> bool:
        """False once the process has ended by itself. Asked by who has it, between jobs."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        return not poll.poll(0)

    def cpu_s(self) -> float:
        """CPU seconds that it has had so far; infinite where the system does not say."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return math.inf
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """End the process and whatever it started in its session. Safe to call twice."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            with suppress(ProcessLookupError):
                _signal(self._handle, self.pid)
            if self._handle is not None:
                _await_end(self._handle)
                os.close(self._handle)
            if self._template.is_alive:  # it keeps the id from being given to a stranger
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
                self.returncode = self._template.reap(self.pid)

    def kill(self) -> None:
        """`end`, and free the pipes: by the thread that has the child. Safe to call twice."""
        self.end()
        with self._lock:
            was_open, self._is_open = self._is_open, False
        # a descriptor closed twice may be somebody else's by then
        if was_open:
            os.close(self._in)
            os.close(self._out)


def _handle(pid: int) -> int | None:
    """A descriptor that stays this process's own when its id is used again, where there is such."""
    if sys.platform == "linux":
        with suppress(OSError):
            return os.pidfd_open(pid)
    return None


def _signal(handle: int | None, pid: int) -> None:
    if sys.platform == "linux" and handle is not None:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    else:
        os.kill(pid, signal.SIGKILL)


def _await_end(handle: int) -> None:
    """Freeing a large memory takes a while, during which the template must not be kept waiting."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll(START_TIMEOUT_S * 1000)


def _send(descriptor: int, frame: dict[str, Any], deadline: float) -> None:
    body = json.dumps(frame).encode("ascii")
    rest = memoryview(struct.pack(">I", len(body)) + body)
    while rest:
        _await(descriptor, select.POLLOUT, deadline)
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            continue
        except (BrokenPipeError, ConnectionResetError) as broken:
            raise Gone from broken


def _receive(descriptor: int, deadline: float) -> dict[str, Any]:
    (size,) = struct.unpack(">I", _read(descriptor, 4, deadline))
    if size > MAX_REPLY_BYTES:
        raise Gone
    frame: dict[str, Any] = json.loads(_read(descriptor, size, deadline))
    return frame


def _read(descriptor: int, size: int, deadline: float) -> bytes:
    chunks = []
    while size:
        _await(descriptor, select.POLLIN, deadline)
        try:
            chunk = os.read(descriptor, size)
        except BlockingIOError:
            continue
        except ConnectionResetError as broken:
            raise Gone from broken
        if not chunk:
            raise Gone
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _await(descriptor: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    remaining = deadline - time.monotonic()
    if remaining <= 0 or not poll.poll(remaining * 1000):
        raise Late
