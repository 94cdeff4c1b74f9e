"""Our side of one run: its three pipes, its keeper's socket, and what becomes of it.

takes    a request                  waits: until the program has ended or a limit ends it
makes    an Outcome                 waits: at most the wall limit and PATIENCE_S
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from munro.rewards.errors import SandboxError
from munro.rewards.sandbox.cgroups import Group
from munro.rewards.sandbox.inside import wire
from munro.rewards.sandbox.output import Said
from munro.rewards.sandbox.types import Limit, Limits, Outcome, Usage

PATIENCE_S = 30.0
"""How much later than the wall limit a keeper may answer, on a machine that is busy."""
NOBODY = 65534
MIB = 1 << 20
_CHUNK = 1 << 16
MOST_PIPE_BYTES = 1 << 20
"""That a program can give a pipe."""
_TELLING = {
    Limit.MEMORY: (
        b"MemoryError",
        b"std::bad_alloc",
        b"Cannot allocate memory",
        b"OutOfMemoryError",
        b"out of memory",
    ),
    Limit.OPEN_FILES: (b"Too many open files", b"too many open files"),
    Limit.PROCESSES: (
        b"Resource temporarily unavailable",
        b"can't start new thread",
        b"unable to create native thread",
    ),
    Limit.DISK: (b"No space left on device", b"no space left on device"),
}
"""What programs say that fail because the kernel refused them something: it tells only them."""

Answer = Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to run.

    Example:
        Request(command=["cc", "a.c"], limits=Limits())
    """

    command: Sequence[bytes | str] = ()
    """Empty for Python source, which is main.py among the files."""
    files: Sequence[tuple[bytes | str, bytes]] = ()
    want: Sequence[str] = ()
    stdin: bytes = b""
    answer: Answer | None = None
    """Where a conversation takes the place of `stdin`."""
    limits: Limits
    is_clipped: bool = False
    """Output over its limit is cut in the middle, and the program goes on."""
    is_interleaved: bool = False
    """What it says on stderr goes the way of stdout."""
    keeps: bool = False
    """Processes that it leaves behind go on."""
    expects_more: bool = False
    """Another one is likely to come, for which the keeper may make ready."""


class Keeper:
    """The link to one keeper. Used by one thread at a time."""

    def __init__(self, link: socket.socket, group: Group | None) -> None:
        self._link = link
        self._process: int | None = None
        self.upper: int | None = None
        """Descriptor of the folder that takes what is written over an image."""
        self.group = group
        """The control group of its programs."""
        self.is_sound = True
        """Nothing of a run may be left in its group."""

    def run(self, request: Request) -> Outcome:
        """One program, from its start to its end.

        Raises:
            SandboxError: the keeper could not do its part, or died.
        """
        self.is_sound = False
        if self.group is not None:
            self.group.limit(request.limits)
        exchange = _Exchange(request)
        try:
            self._link.settimeout(request.limits.wall_s + PATIENCE_S)
            try:
                self._ask(request, exchange.theirs)
                exchange.close_theirs()
                self._hear(exchange)
            except wire.Closed:
                raise SandboxError("the first process of a sandbox died") from None
            except TimeoutError:
                self.kill()
                raise SandboxError("the first process of a sandbox did not answer") from None
        finally:
            exchange.close()
        self.is_sound = True
        outcome = exchange.outcome()
        if self.group is not None and self.group.was_hit() and outcome.limit is None:
            return replace(outcome, limit=Limit.MEMORY)
        return outcome

    def wait_until_ready(self) -> None:
        """Until it has entered all that it is to enter.

        Raises:
            SandboxError: it could not.
        """
        try:
            self._link.settimeout(PATIENCE_S)
            head, _, descriptors = wire.receive(self._link)
        except (wire.Closed, TimeoutError):
            raise SandboxError("the first process of a sandbox died before it was ready") from None
        self._take_start(head, descriptors)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While this lasts, no process of the session goes on.

        Raises:
            SandboxError: the keeper died.
        """
        self._tell("pause")
        try:
            yield
        finally:
            self._tell("go on")

    def end_processes(self) -> None:
        """Leave none that was kept.

        Raises:
            SandboxError: the keeper died.
        """
        self.is_sound = False
        self._tell("end")
        self.is_sound = True

    def touch(self, head: wire.Head, contents: bytes = b"") -> tuple[wire.Head, bytes]:
        """Look at a path or write to it, between two commands.

        Raises:
            SandboxError: the keeper died.
        """
        return self._exchange(head, contents)

    def _tell(self, word: str) -> None:
        self._exchange({"word": word})

    def _exchange(self, head: wire.Head, contents: bytes = b"") -> tuple[wire.Head, bytes]:
        try:
            self._link.settimeout(PATIENCE_S)
            wire.send(self._link, head, [contents])
            while True:
                said, blob, descriptors = wire.receive(self._link)
                if not self._take_start(said, descriptors):
                    return said, blob
        except (wire.Closed, TimeoutError):
            raise SandboxError("the first process of a sandbox died") from None

    def kill(self) -> None:
        """End all that runs there now."""
        if self._process is not None:
            with suppress(OSError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def close(self) -> None:
        """Let it go: it ends, and all of its with it."""
        self._link.close()
        held, self._process, self.upper = (self._process, self.upper), None, None
        for descriptor in held:
            if descriptor is not None:
                os.close(descriptor)

    def _ask(self, request: Request, descriptors: Sequence[int]) -> None:
        limits = request.limits
        head = {
            "command": [wire.pack(part) for part in request.command],
            "python": not request.command,
            "talks": request.answer is not None,
            "keeps": request.keeps,
            "expects_more": request.expects_more,
            "files": [[wire.pack(path), len(contents)] for path, contents in request.files],
            "want": [wire.pack(path) for path in request.want],
            "limits": {name: getattr(limits, name) for name in limits.__dataclass_fields__},
        }
        wire.send(self._link, head, [contents for _, contents in request.files], descriptors)

    def _hear(self, exchange: _Exchange) -> None:
        """Pump the pipes until the report is there and they are empty."""
        deadline = time.monotonic() + exchange.request.limits.wall_s + PATIENCE_S
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        exchange.register(poll)
        while exchange.report is None:
            rest = deadline - time.monotonic()
            if rest <= 0:
                raise TimeoutError
            for descriptor, _ in poll.poll(rest * 1000):
                if descriptor == self._link.fileno():
                    self._take_report(exchange, poll)
                    if exchange.report is not None:
                        return
                else:
                    exchange.pump(descriptor, poll)
            if exchange.wants_stop:
                exchange.wants_stop = False
                wire.send(self._link, {"stop": True})

    def _take_report(self, exchange: _Exchange, poll: select.poll) -> None:
        head, blob, descriptors = wire.receive(self._link)
        if self._take_start(head, descriptors):
            return
        exchange.report = head
        exchange.blob = blob
        exchange.drain(poll)

    def _take_start(self, head: wire.Head, descriptors: Sequence[int]) -> bool:
        """Whether this was the word that it is ready, rather than a report."""
        if "fatal" in head:
            raise SandboxError(f"a sandbox could not be set up: {head['fatal']}")
        if descriptors:
            self._process, *rest = descriptors
            self.upper = rest[0] if rest else None
        return bool(descriptors)


@dataclass
class _Exchange:
    """The pipes of one run, and what has come through them."""

    request: Request
    report: wire.Head | None = None
    blob: bytes = b""
    wants_stop: bool = False
    is_cut: bool = False
    theirs: list[int] = field(default_factory=list)
    _input: int = -1
    _outputs: dict[int, Said] = field(default_factory=dict)
    _pending: bytearray = field(default_factory=bytearray)
    _line: bytes = b""
    _is_closing: bool = True

    def __post_init__(self) -> None:
        read, self._input = os.pipe2(os.O_CLOEXEC)
        out, out_theirs = os.pipe2(os.O_CLOEXEC)
        error, error_theirs = os.pipe2(os.O_CLOEXEC)
        self.theirs = [read, out_theirs, error_theirs]
        if self.request.is_interleaved:
            os.dup2(out_theirs, error_theirs, inheritable=False)
        most, is_clipped = self.request.limits.output_bytes, self.request.is_clipped
        self._outputs = {
            each: Said(most_bytes=most, is_clipped=is_clipped) for each in (out, error)
        }
        self._open = set(self._outputs)
        self._out = out
        if os.geteuid() == 0:
            for descriptor in self.theirs:  # so that /dev/stdin and the like can be opened
                os.fchown(descriptor, NOBODY, NOBODY)
        os.set_blocking(self._input, False)

    def register(self, poll: select.poll) -> None:
        """Ask for what can be read, and write what is there to be written."""
        for descriptor in self._outputs:
            poll.register(descriptor, select.POLLIN)
        if self.request.answer is None:
            self._pending += self.request.stdin
        else:
            self._is_closing = False
            self._say(b"")
        self._write(poll)

    def drain(self, poll: select.poll) -> None:
        """Read what its processes have left in the pipes.

        Not up to the end: a pipe that is on its way through a socket of theirs is still open. And
        no more than a pipe may hold: one that goes on may write for ever.
        """
        for descriptor in self._open:
            os.set_blocking(descriptor, False)
        for descriptor in list(self._open):
            with suppress(BlockingIOError):
                for _ in range(MOST_PIPE_BYTES // _CHUNK + 1):
                    if descriptor in self._open:
                        self.pump(descriptor, poll)

    def pump(self, descriptor: int, poll: select.poll) -> None:
        """Something can be done with `descriptor`."""
        if descriptor == self._input:
            self._write(poll)
            return
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            poll.unregister(descriptor)
            self._open.discard(descriptor)
            return
        if descriptor == self._out and self.request.answer is not None:
            self._converse(chunk, poll)
            return
        said = self._outputs[descriptor]
        said.take(chunk)
        if said.is_over and not said.is_clipped:
            self._cut()

    def _cut(self) -> None:
        if not self.is_cut:
            self.is_cut = True
            self.wants_stop = self.report is None

    def _converse(self, chunk: bytes, poll: select.poll) -> None:
        """Hand on whole lines, and queue what is said to them."""
        *lines, self._line = (self._line + chunk).split(b"\n")
        for line in lines:
            if self.is_cut:
                return
            if len(line) >= self.request.limits.output_bytes:
                self._cut()
                return
            self._say(line + b"\n")
        if len(self._line) > self.request.limits.output_bytes:
            self._cut()
        self._write(poll)

    def _say(self, line: bytes) -> None:
        assert self.request.answer is not None
        if self._input < 0 and line:
            self.request.answer(line)
            return
        said = self.request.answer(line)
        if said is None:
            self._is_closing = True
        elif not self._is_closing:
            self._pending += said

    def _write(self, poll: select.poll) -> None:
        """As much of what is pending as the pipe takes; its end, after the last of it."""
        if self._input < 0:
            return
        is_broken = False
        try:
            while self._pending:
                del self._pending[: os.write(self._input, self._pending[:_CHUNK])]
        except BlockingIOError:
            poll.register(self._input, select.POLLOUT)
            if self.request.answer is not None and len(self._pending) > _CHUNK:
                with suppress(KeyError):  # who does not listen is not listened to
                    poll.unregister(self._out)
            return
        except BrokenPipeError:
            is_broken = True
        with suppress(KeyError):
            poll.unregister(self._input)
        if self._out in self._open:
            poll.register(self._out, select.POLLIN)
        if is_broken or self._is_closing:
            os.close(self._input)
            self._input = -1
            self._pending.clear()

    def close_theirs(self) -> None:
        """Close the ends that the program has."""
        while self.theirs:
            os.close(self.theirs.pop())

    def close(self) -> None:
        """Free all pipes."""
        self.close_theirs()
        for descriptor in (*self._outputs, self._input):
            if descriptor >= 0:
                os.close(descriptor)
        self._input = -1

    def outcome(self) -> Outcome:
        """What became of it."""
        assert self.report is not None
        report = self.report
        names = [wire.unpack(name).decode("utf-8", "surrogatepass") for name, _ in report["files"]]
        contents = wire.split(self.blob, [size for _, size in report["files"]])
        out, error = (said.text() for said in self._outputs.values())
        words = out if self.request.is_interleaved else error
        limit = _limit_of(report, words, self.request.limits)
        return Outcome(
            status=report["status"],
            stdout=out,
            stderr=error,
            files=dict(zip(names, contents, strict=True)),
            limit=Limit.OUTPUT if self.is_cut else limit,
            left_out=sum(said.left_out for said in self._outputs.values() if said.is_clipped),
            usage=Usage(
                cpu_s=report["cpu_s"],
                wall_s=report["wall_s"],
                memory_mb=report["peak_bytes"] / MIB,
            ),
        )


def _limit_of(report: wire.Head, error: bytes, limits: Limits) -> Limit | None:
    """The limit that ended it, from what the keeper saw and from what the program said."""
    if report["limit"] not in (None, "stopped"):
        return Limit(report["limit"])
    if report["status"] == -signal.SIGXCPU:
        return Limit.CPU
    if report["status"] == -signal.SIGKILL and report["cpu_s"] >= limits.cpu_s:
        return Limit.CPU
    if report["full"]:
        return Limit(report["full"])
    if report["status"] == 0:
        return None
    said = error[-4096:]
    return next((kind for kind, words in _TELLING.items() if any(w in said for w in words)), None)
