"""One side in another interpreter, as this process holds it: questions there, answers back.

    ask ──► queue (at most `at_once` are with the side) ──► stdin ──► side
    Future ◄── checked line of JSON ◄── stdout ◄──────────────────────┘

One thread a side does all reading and writing and keeps the time, so that nobody blocks on a side
that does not read, and callers of any event loop can wait. What comes back is hostile text: a line
that is no answer to what was asked ends the side, and with it all that was asked of it.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from munro.envs.remote.keeper import GRACE_S, OUT_OF_MEMORY
from munro.envs.remote.wire import BadAnswer, parsed
from munro.rewards.errors import EnvironmentFailure

KEEPER = (sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("keeper.py")))
MOST_BYTES = 16 << 20
"""Of one line, either way."""
LAST_WORDS = 4096
"""Bytes of what a side printed that are kept, to say why it died."""
CHUNK = 1 << 16


class Refused(Exception):
    """The side says no; the message is what it said."""


@dataclass(slots=True)
class Call:
    """Something asked of a side."""

    id: int
    episode: str
    line: bytes
    limit_s: float
    answer: Future[dict[str, Any]] = field(default_factory=Future)
    ends: float = 0.0
    """When its time is over, on the monotonic clock; 0 as long as the side does not have it."""


class Process:
    """A running side. Safe to use from many threads; `close` it in the end."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], memory_mb: int
    ) -> None:
        """Start it.

        Args:
            name: for messages.
            command: the side's.
            env: its environment variables.
            memory_mb: MiB that it may hold with all that it starts; 0 for no bound.

        Raises:
            EnvironmentFailure: the system starts no process.
        """
        self.name = name
        self.at_once = 1
        """Questions that the side takes at the same moment, as it said."""
        self.said: Mapping[str, Any] = {}
        """What it answered when it was opened."""
        life, self._life = os.pipe()
        try:
            self._keeper = subprocess.Popen(
                [*KEEPER, str(os.getpid()), str(life), str(memory_mb), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(life,),
                env=dict(env),
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            os.close(self._life)
            raise EnvironmentFailure(f"{name}: no process could be started: {error}") from error
        finally:
            os.close(life)
        self._lock = threading.Lock()
        self._queue: deque[Call] = deque()
        self._asked: dict[int, Call] = {}
        self._out = bytearray()
        self._in = bytearray()
        self._words = bytearray()
        self._num = 0
        self._why = ""
        """Why it is of no more use; empty as long as it is."""
        self._wake_read, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"side {name}")
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return not self._why

    @property
    def pid(self) -> int:
        """Of the keeper, whose child the side is."""
        return self._keeper.pid

    def ask(self, do: str, limit_s: float, *, episode: str = "", **what: Any) -> Call:
        """Ask; the call's `answer` comes later.

        Its exception is an EnvironmentFailure where the side died, took longer than `limit_s` from
        when it was given the question, or answered something that is no answer; `Refused` where it
        said no.

        Raises:
            EnvironmentFailure: the question is too large.
        """
        with self._lock:
            self._num += 1
            asked = {"id": self._num, "do": do, "episode": episode, **what}
            line = json.dumps(asked, allow_nan=False).encode("ascii") + b"\n"
            if len(line) > MOST_BYTES:
                raise EnvironmentFailure(f"{self.name}: {do} would send {len(line):,} bytes")
            call = Call(self._num, episode, line, limit_s)
            call.answer.set_running_or_notify_cancel()  # who waits may be cancelled, not the answer
            if self._why:
                call.answer.set_exception(EnvironmentFailure(self._why))
                return call
            self._queue.append(call)
        self._woken()
        return call

    def give_up(self, call: Call) -> None:
        """Nobody waits for the answer any more: without one soon the side is taken to hang."""
        with self._lock:
            if call in self._queue:
                self._queue.remove(call)
                return
            call.ends = min(call.ends or float("inf"), time.monotonic() + GRACE_S)
        self._woken()

    def kill(self, why: str) -> None:
        """End it at once; all that was asked of it fails for this reason."""
        self._fail(why)
        with self._lock, suppress(OSError):
            os.write(self._life, b"k")
        self._woken()

    def close(self) -> None:
        """End it: politely, with a moment to tidy up. Returns when nothing of it is left."""
        self._fail(f"{self.name} was closed")
        self._woken()
        if threading.current_thread() is not self._thread:
            self._thread.join(4 * GRACE_S)

    def _fail(self, why: str) -> None:
        with self._lock:
            self._why = self._why or why
            calls = [*self._queue, *self._asked.values()]
            self._queue.clear()
            self._asked.clear()
        for call in calls:
            if not call.answer.done():
                call.answer.set_exception(EnvironmentFailure(self._why))

    def _woken(self) -> None:
        with self._lock, suppress(OSError):  # a full pipe has woken it already
            os.write(self._wake, b"x")

    def _run(self) -> None:
        try:
            self._talk()
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            self._fail(f"{self.name}: {type(error).__name__}: {error}")
        self._end()

    def _talk(self) -> None:
        """Move bytes until the side is of no more use."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        into = self._keeper.stdin.fileno()
        out, err = self._keeper.stdout.fileno(), self._keeper.stderr.fileno()
        for descriptor in (into, out, err, self._wake_read):
            os.set_blocking(descriptor, False)
        with selectors.DefaultSelector() as selector:
            for descriptor in (out, err, self._wake_read):
                selector.register(descriptor, selectors.EVENT_READ)
            while not self._why:
                self._give()
                wants = bool(self._out)
                if wants != (into in selector.get_map()):
                    if wants:
                        selector.register(into, selectors.EVENT_WRITE)
                    else:
                        selector.unregister(into)
                for key, _ in selector.select(self._patience_s()):
                    if key.fd == into:
                        self._write(into)
                    elif not self._read(key.fd, out, err):
                        if key.fd == out:
                            return
                        selector.unregister(key.fd)

    def _give(self) -> None:
        """Hand on what the side may have, and end it where it is late."""
        now = time.monotonic()
        late = None
        with self._lock:
            while self._queue and len(self._asked) < self.at_once:
                call = self._queue.popleft()
                call.ends = now + call.limit_s
                self._asked[call.id] = call
                self._out += call.line
            late = next((call for call in self._asked.values() if call.ends <= now), None)
        if late is not None:
            asked = json.loads(late.line)["do"]
            self.kill(f"{self.name}: no answer to {asked!r} in its time, so the process was killed")

    def _patience_s(self) -> float | None:
        with self._lock:
            ends = [call.ends for call in self._asked.values()]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _write(self, into: int) -> None:
        try:
            del self._out[: os.write(into, self._out[:CHUNK])]
        except BlockingIOError:
            return
        except OSError:  # it closed its stdin: its stdout says more
            self._out.clear()

    def _read(self, descriptor: int, out: int, err: int) -> bool:
        """Take what is there; False where nothing will come any more."""
        try:
            chunk = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return True
        if descriptor == err:
            self._words += chunk
            del self._words[:-LAST_WORDS]
        elif descriptor == out:
            self._in += chunk
            self._take_lines(len(chunk))
        return bool(chunk)

    def _take_lines(self, num_new: int) -> None:
        start = 0
        # what was there before holds no end of a line
        searched = max(0, len(self._in) - num_new)
        while (end := self._in.find(b"\n", max(searched, start))) >= 0 and not self._why:
            self._take(bytes(self._in[start:end]))
            start = end + 1
        del self._in[:start]
        if len(self._in) > MOST_BYTES:
            self.kill(f"{self.name}: an answer of more than {MOST_BYTES >> 20} MiB")

    def _take(self, line: bytes) -> None:
        """One answer, to whoever waits for it."""
        try:
            if len(line) > MOST_BYTES:
                raise BadAnswer(f"it has more than {MOST_BYTES >> 20} MiB")
            given = parsed(line)
            number, episode = given.get("id"), given.get("episode", "")
            with self._lock:
                call = self._asked.get(number) if type(number) is int else None
                if call is None:
                    raise BadAnswer(f"nobody asked question {number!r:.40}")
                if episode != call.episode:
                    raise BadAnswer(f"of episode {episode!r:.40}, asked was {call.episode!r}")
                del self._asked[call.id]
        except BadAnswer as wrong:
            shown = line[:80].decode(errors="replace")
            self.kill(f"{self.name}: no answer of the protocol: {wrong}: {shown!r}")
            return
        if "error" in given:
            error, kind = str(given["error"])[:1000], given.get("kind")
            failure = EnvironmentFailure(f"{self.name}: {error}")
            call.answer.set_exception(Refused(error) if kind == "refused" else failure)
        else:
            call.answer.set_result(given)

    def _end(self) -> None:
        """Leave nothing behind, and tell those who wait what happened."""
        with self._lock:
            life, self._life = self._life, -1
        os.close(life)
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            assert pipe is not None
            pipe.close()
        status = self._keeper.wait()
        assert self._keeper.stderr is not None
        with suppress(OSError):
            while chunk := os.read(self._keeper.stderr.fileno(), CHUNK):
                self._words += chunk
        self._keeper.stderr.close()
        words = self._words.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(words) if line.strip()), "")
        said = f"; its last words: {last[:200]!r}" if last else ""
        self._fail(f"{self.name}: the process {ended(status)}{said}")
        with self._lock:
            wake, self._wake = self._wake, -1
        os.close(wake)
        os.close(self._wake_read)


def ended(status: int) -> str:
    """What a keeper's exit status says, for a person."""
    if status == OUT_OF_MEMORY:
        return "took more memory than it may (memory_mb)"
    if status > 128:
        return f"was ended by signal {status - 128}"
    return f"ended by itself with status {status}" if status >= 0 else "lost its keeper"
