"""Watches over the interpreter that runs hidden tests, from a process of its own in the same box.

    host  ──plan──►  supervisor  ──key, plan──►  interpreter: pytest, the report's plugin, tests and
    host  ◄─lines──  supervisor  ◄───records───  the code under test

What the tests' interpreter prints goes to a log and nowhere else: the lines that the host reads
come from here. A record counts only if it continues a chain of keyed digests, in order. A test over
its time ends its interpreter, and another one goes on with the rest; so does one that ends it by
itself.

Standard library only; sent as text by `munro.envs.swe.run`, so that no file of ours is in the box.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

PR_SET_DUMPABLE = 4
HEAD, TAIL = 16 << 10, 48 << 10
"""Bytes of the log that are kept of its beginning and of its end."""
MOST_RECORDS, MOST_BYTES, MOST_LINE = 400_000, 48 << 20, 1 << 16
MOST_ROUNDS = 40
START_S = 60.0
"""Least time for an interpreter to collect its tests, s."""
INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
SETTLED = (0, 1, 5)
"""Exit statuses of pytest that has run all there is: passed, some failed, nothing collected."""


class Log:
    """The beginning and the end of what was printed."""

    def __init__(self) -> None:
        self._head, self._tail, self._cut = b"", b"", 0

    def add(self, data: bytes) -> None:
        """Take more of it."""
        room = max(0, HEAD - len(self._head))
        self._head += data[:room]
        self._tail += data[room:]
        self._cut += max(0, len(self._tail) - TAIL)
        self._tail = self._tail[-TAIL:]

    def text(self) -> bytes:
        """All that was kept, with a line that says how much was not."""
        gap = b"\n[... %d bytes ...]\n" % self._cut if self._cut else b""
        return self._head + gap + self._tail


class Round:
    """One interpreter, from its start to its end."""

    def __init__(self, plan: dict[str, Any], done: set[str], log: Log, budget: list[int]) -> None:
        self.plan, self.done, self.log, self.budget = plan, done, log, budget
        self.running = ""
        self.since = time.monotonic()
        self.collected: int | None = None
        self.num_done = 0
        self.end: dict[str, Any] | None = None
        self.is_forged = False
        self._rest = b""
        key = os.urandom(32)
        self._chain = hashlib.blake2b(key=key, digest_size=16)
        self._reports, theirs = os.pipe()
        os.set_inheritable(theirs, True)
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        alone = ["-P"] if sys.version_info >= (3, 11) else []
        self.process = subprocess.Popen(
            [sys.executable, *alone, "-s", "-B", "-c", plan["plugin"]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs,),
            env=environment | plan["environment"],
            start_new_session=True,
        )
        os.close(theirs)
        names = ("paths", "only", "arguments", "seed", "shuffle", "imports")
        told = {name: plan[name] for name in names}
        told |= {"key": key.hex(), "descriptor": theirs, "skip": sorted(done)}
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(told).encode())
            self.process.stdin.close()

    def watch(self, deadline: float) -> str:
        """Until it has ended; returns why it was ended, or nothing."""
        assert self.process.stdout is not None
        why = ""
        with selectors.DefaultSelector() as ready:
            ready.register(self._reports, selectors.EVENT_READ, self._take)
            ready.register(self.process.stdout, selectors.EVENT_READ, self.log.add)
            while ready.get_map() and not why:
                for key, _ in ready.select(0.05):
                    data = os.read(key.fd, 1 << 16)
                    if data:
                        key.data(data)
                    else:
                        ready.unregister(key.fd)
                limit = self.plan["test_s"]
                if not self.running:
                    limit = max(START_S, limit)
                if time.monotonic() > deadline:
                    why = "wall"
                elif time.monotonic() - self.since > limit:
                    why = "time"
                elif self.is_forged:
                    why = "forged"
                elif self.process.poll() is not None and not ready.select(0.05):
                    break  # what it left running may hold the pipes open for ever
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # all in this box, but process 1 and this one
        self.process.wait()
        os.close(self._reports)
        return why

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.budget[0] -= len(lines)
        self.budget[1] -= len(data)
        if len(self._rest) > MOST_LINE or min(self.budget) < 0:
            self.is_forged = True
            return
        for line in lines:
            body, _, mark = line.rpartition(b" ")
            self._chain.update(body)
            if self._chain.hexdigest().encode() != mark or self.end is not None:
                self.is_forged = True
                return
            self._heed(json.loads(body))

    def _heed(self, record: dict[str, Any]) -> None:
        kind = record["kind"]
        self.since = time.monotonic()
        if kind == "start":
            self.running = record["id"]
        elif kind == "done":
            self.running = ""
            self.num_done += 1
            self.done.add(record["id"])
        elif kind == "collected":
            self.collected = record["count"]
        elif kind == "end":
            self.end = record
        say(record)

    @property
    def is_settled(self) -> bool:
        """It ran all that it collected, and said so."""
        return (
            self.end is not None
            and not self.running
            and self.end["status"] in SETTLED
            and self.end["count"] == self.num_done == self.collected
        )


def say(record: dict[str, Any]) -> None:
    """One line for the host."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the plan that comes over standard input."""
    # no other process of this user may look into this one, or into its open files
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    plan = json.load(sys.stdin)
    deadline = time.monotonic() + plan["wall_s"]
    done: set[str] = set()
    log, budget = Log(), [MOST_RECORDS, MOST_BYTES]
    for _ in range(MOST_ROUNDS):
        before = len(done)
        here = Round(plan, done, log, budget)
        why = here.watch(deadline)
        if why == "forged":
            say({"kind": "flag", "flag": "forged a report"})
            break
        if here.is_settled:
            say({"kind": "finished"})
            break
        if why == "wall":
            break
        if here.running:
            said = "ran over its time" if why == "time" else "ended the interpreter of its tests"
            say({"kind": "done", "id": here.running, "outcome": "error", "message": said})
            done.add(here.running)
        if len(done) == before or plan.get("until_failure"):
            break
    sys.stderr.buffer.write(log.text())


if __name__ == "__main__":
    main()
