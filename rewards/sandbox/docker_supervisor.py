"""Process 1 of a container: takes a job, runs the program under its limits, says how it ended.

Standard library only: `docker` hands the source of this, and of what it imports, to the image's own
`python3 -I -S -c`, so an image needs nothing of ours. It is root there with just what it takes to
step down (set uid and gid, drop the bounding set, kill). The program is another user without any
capability: it can neither signal, nor trace, nor limit the process that judges it, and holds no
descriptor of it.

    host to here    J job (a header, then files and stdin)   I input   E end of input
                    T touch files between jobs (a header, then contents)
    from here       O output of a conversation               R result (a header, then contents)

Every frame is one letter, four bytes of length, the payload. The end of its input is the end of it.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import struct
import time
from contextlib import suppress
from typing import Any

from munro.rewards.sandbox.docker_meter import MIB, TEMP, Meter, full
from munro.rewards.sandbox.docker_tree import (
    PACKAGES,
    PROGRAM,
    as_program,
    change,
    get,
    put,
    spread,
    standstill,
)
from munro.rewards.sandbox.inside import seccomp, syscalls
from munro.rewards.sandbox.inside.files import WORK
from munro.rewards.sandbox.output import Said

HEAD = struct.Struct("!cI")
TICK_S = 0.02
MOST_PARTS = 17
"""Reads of what a program has left in a pipe, which holds at most a MiB."""
LAST_CAPABILITY = 63


def receive_exactly(size: int) -> bytes:
    """From the host; its end is our end."""
    parts = []
    while size:
        part = os.read(0, min(size, MIB))
        if not part:
            raise SystemExit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def receive() -> tuple[bytes, bytes]:
    """A frame: its letter and payload."""
    letter, size = HEAD.unpack(receive_exactly(HEAD.size))
    return letter, receive_exactly(size)


def send(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


def become_the_program(job: dict[str, Any], pipes: list[int]) -> None:
    """In the child: leave everything behind, and execute. Never returns."""
    try:
        os.setsid()
        for descriptor, pipe in enumerate(pipes):
            os.dup2(pipe, descriptor)
        os.closerange(3, 4096)
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
        seconds, size = int(job["cpu_s"]) + 2, job["disk_mb"] * MIB
        for kind, most in (
            (resource.RLIMIT_NOFILE, job["open_files"]),
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_FSIZE, size),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MSGQUEUE, 0),
        ):
            resource.setrlimit(kind, (most, most))
        with suppress(OSError):  # past the last that this kernel knows
            for capability in range(LAST_CAPABILITY + 1):
                syscalls.prctl(syscalls.PR_CAPBSET_DROP, capability)
        os.setgroups([])
        os.setresgid(PROGRAM, PROGRAM, PROGRAM)
        os.setresuid(PROGRAM, PROGRAM, PROGRAM)
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        if syscalls.MACHINE in syscalls.MACHINES:  # beside the engine's own filter
            has_loopback = job["loopback"]
            syscalls.filter_calls(
                seccomp.program(syscalls.MACHINE, is_counted=True, has_loopback=has_loopback)
            )
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        os.chdir(WORK)
        # what the image sets (a tool chain's home, say); nothing of the host is in it
        environment = {**os.environ, "HOME": TEMP, "TMPDIR": TEMP, "LANG": "C.UTF-8"}
        if packages := sorted(os.listdir(PACKAGES)) if os.path.isdir(PACKAGES) else []:
            places = [f"{PACKAGES}/{name}" for name in packages]
            environment["PYTHONPATH"] = ":".join(places)
            tools = [f"{place}/bin" for place in places]
            environment["PATH"] = ":".join([*tools, environment.get("PATH", os.defpath)])
        os.execvpe(job["command"][0], job["command"], environment)
    except (OSError, ValueError) as failure:
        os.write(2, f"{job['command'][0]}: {failure}\n".encode(errors="replace"))
        os._exit(127 if isinstance(failure, FileNotFoundError) else 126)
    finally:
        os._exit(127)


def end_everything() -> None:
    """No process but this one is left; a signal to all of them cannot be outrun by forking."""
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


class Run:
    """One program, from its start to its end."""

    def __init__(self, job: dict[str, Any], stdin: bytes) -> None:
        self.job, self.meter, self.limit = job, Meter(), ""
        self.start = time.monotonic()
        self.peak_mb = 0.0
        self.waiting, self.closing = bytearray(stdin), not job["converse"]
        self.saying, self.line_bytes = bytearray(), 0
        most = job["output_bytes"]
        self.kept = {
            name: Said(most_bytes=most, is_clipped=job["clip"]) for name in ("stdout", "stderr")
        }
        theirs_in, self.stdin = os.pipe()
        self.stdout, theirs_out = os.pipe()
        self.stderr, theirs_err = os.pipe()
        theirs = [theirs_in, theirs_out, theirs_out if job["interleave"] else theirs_err]
        self.child = os.fork()
        if not self.child:
            become_the_program(job, theirs)
        for descriptor in (theirs_in, theirs_out, theirs_err):
            os.close(descriptor)
        for descriptor in (self.stdin, self.stdout, self.stderr):
            os.set_blocking(descriptor, False)
        self.ended = os.pidfd_open(self.child)

    def watch(self) -> None:
        """Pass on what is said, until it ends or has to."""
        poll, out = select.poll(), {self.stdout: "stdout", self.stderr: "stderr"}
        next_check = 0.0
        for descriptor in (self.stderr, self.ended, 0):
            poll.register(descriptor, select.POLLIN)
        while not self.limit:
            # who does not listen is not listened to, so that neither side piles up
            full = max(len(self.waiting), len(self.saying)) > MIB
            if self.stdout in out:
                poll.register(self.stdout, 0 if full else select.POLLIN)
            if self.stdin >= 0:
                poll.register(self.stdin, select.POLLOUT if self.waiting else 0)
            poll.register(1, select.POLLOUT if self.saying else 0)
            happened = dict(poll.poll(TICK_S * 1000))
            for descriptor in happened.keys() & out.keys():
                if not self.take(descriptor, out[descriptor]):
                    poll.unregister(descriptor)
                    del out[descriptor]
            if self.stdin >= 0 and (self.stdin in happened or not self.waiting):
                self.feed(poll, happened.get(self.stdin, 0))
            if self.saying:
                self.say()
            if self.ended in happened:
                break
            if 0 in happened:
                self.hear()
            if time.monotonic() > next_check:
                next_check = time.monotonic() + TICK_S
                self.check()

    def take(self, descriptor: int, name: str) -> bool:
        """Some output; False where there is none."""
        try:
            part = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return False
        most = self.job["output_bytes"]
        if name == "stdout" and self.job["converse"]:
            self.saying += HEAD.pack(b"O", len(part)) + part
            _, newline, last = part.rpartition(b"\n")
            self.line_bytes = len(last) + (0 if newline else self.line_bytes)
            too_long = self.line_bytes > most
        else:
            kept = self.kept[name]
            kept.take(part)
            too_long = kept.is_over and not kept.is_clipped
        if too_long:
            self.limit = self.limit or "output"
        return bool(part)

    def say(self) -> None:
        """Hand on what the program said to the host, as far as it will take it."""
        os.set_blocking(1, False)
        with suppress(BlockingIOError):
            del self.saying[: os.write(1, self.saying[: 1 << 16])]
        os.set_blocking(1, True)

    def feed(self, poll: select.poll, event: int) -> None:
        """Give it what it may read; close when that was all, or when nobody reads."""
        try:
            while self.waiting:
                del self.waiting[: os.write(self.stdin, self.waiting[: 1 << 16])]
        except BlockingIOError:
            return
        except BrokenPipeError:
            event |= select.POLLERR
        if self.closing or event & select.POLLERR:
            self.waiting.clear()
            poll.unregister(self.stdin)
            os.close(self.stdin)
            self.stdin = -1

    def hear(self) -> None:
        """The host says something; when it is gone, so are we, and all in here with us."""
        letter, payload = receive()
        if letter == b"I" and self.stdin >= 0:
            self.waiting += payload
        elif letter == b"E":
            self.closing = True

    def check(self) -> None:
        """Is a limit passed?"""
        self.bury()
        memory_mb = self.meter.memory_mb()
        self.peak_mb = max(self.peak_mb, memory_mb)
        passed = (
            ("wall", time.monotonic() - self.start > self.job["wall_s"]),
            ("cpu", self.meter.cpu_s() > self.job["cpu_s"]),
            ("memory", memory_mb > self.job["memory_mb"]),
            ("processes", self.meter.processes() > self.job["processes"]),
            ("disk", self.meter.disk_mb() > self.job["disk_mb"]),
        )
        self.limit = self.limit or next((name for name, yes in passed if yes), "")

    def bury(self) -> None:
        """Orphans that have died: they count as processes until someone asks how they ended."""
        with suppress(ChildProcessError):
            while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if dead.si_pid == self.child:
                    break
                os.waitpid(dead.si_pid, 0)

    def finish(self) -> dict[str, Any]:
        """End it and all it began, and say how it went."""
        if self.limit:
            for end in (os.killpg, os.kill) if self.job["keeps"] else (os.kill,):
                with suppress(ProcessLookupError):
                    end(self.child, signal.SIGKILL)
        _, status, spent = os.wait4(self.child, 0)
        if not self.job["keeps"] or self.limit not in ("", "wall", "output"):
            end_everything()
        wall_s = time.monotonic() - self.start
        for descriptor, name in ((self.stdout, "stdout"), (self.stderr, "stderr")):
            for _ in range(MOST_PARTS):
                if self.limit == "output" or not self.take(descriptor, name):
                    break
            os.close(descriptor)
        for descriptor in (self.stdin, self.ended):
            if descriptor >= 0:
                os.close(descriptor)
        code = os.waitstatus_to_exitcode(status)
        return {
            "status": code,
            "limit": self.limit or self.hidden_limit(code),
            "cpu_s": self.meter.cpu_s(),
            "wall_s": wall_s,
            "memory_mb": max(self.peak_mb, spent.ru_maxrss / 1024),
        }

    def hidden_limit(self, code: int) -> str:
        """One that the kernel held without us: by a signal, or by an error that ended it."""
        words = self.kept["stdout" if self.job["interleave"] else "stderr"]
        said = words.text()[-4096:]
        hidden = (
            ("memory", self.meter.out_of_memory()),
            ("disk", code == -signal.SIGXFSZ),
            (full(), full()),
            ("processes", self.meter.refused_a_process()),
            ("disk", code and (b"No space left" in said or b"File too large" in said)),
            ("open files", code and b"Too many open files" in said),
        )
        return next((name for name, yes in hidden if yes), "")


def serve(job: dict[str, Any], blobs: bytes) -> None:
    """Do one job and send its result."""
    brought, start = [], 0
    for path, size in job["files"]:
        brought.append((unpack(path), blobs[start : start + size]))
        start += size
    job["command"] = [unpack(part) for part in job["command"]]
    try:
        with standstill(is_needed=job["keeps"]):
            put(brought)
    except OSError as failure:
        limit = full() or ("disk" if failure.errno == errno.ENOSPC else "")
        send(result({"failure": f"{failure}", "full": limit}, []))
        return
    with suppress(ChildProcessError):  # what an earlier job left, and has ended
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    run = Run(job, blobs[start:])
    run.watch()
    ended = run.finish()
    with standstill(is_needed=job["keeps"]):
        found, cut = get([unpack(path) for path in job["want"]], job["disk_mb"] * MIB)
    ended["limit"] = ended["limit"] or ("disk" if cut else "")
    ended["found"] = [place for place, _ in found]
    streams = [run.kept[name].text() for name in ("stdout", "stderr")]
    ended["left_out"] = sum(said.left_out for said in run.kept.values() if said.is_clipped)
    send(bytes(run.saying) + result(ended, streams + [content for _, content in found]))


def touch(head: dict[str, Any], blob: bytes) -> None:
    """Do something to the files between two jobs, and send what came of it."""
    contents: list[bytes] = []
    with standstill(is_needed=head.get("keeps", False)):
        try:
            if head["does"] == "packages":
                os.makedirs(f"{PACKAGES}/{head['number']}", 0o755)
                spread(f"{PACKAGES}/{head['number']}", head["entries"], blob)
                said: dict[str, Any] = {}
            else:
                with as_program():
                    os.makedirs(WORK, exist_ok=True)
                    said, contents = change(head, blob)
        except OSError as failure:
            said = {"failure": f"{failure}"}
    send(result(said, contents))


def unpack(text: str) -> str:
    """One character a byte, as JSON brings it, to what this system makes of those bytes."""
    return os.fsdecode(text.encode("latin-1"))


def result(ended: dict[str, Any], contents: list[bytes]) -> bytes:
    """A frame: a header, its length first; then the contents that it measures."""
    ended["sizes"] = [len(content) for content in contents]
    head = json.dumps(ended).encode()
    body = b"".join([struct.pack("!I", len(head)), head, *contents])
    return HEAD.pack(b"R", len(body)) + body


def main() -> None:
    """Serve until the host hangs up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for folder in (TEMP, "/dev/shm"):
        os.chmod(folder, 0o1777)  # the engine gives a mount the mode of the image's folder
    while True:
        letter, payload = receive()
        if letter not in b"JT":
            continue  # said to a program that has ended
        size = struct.unpack_from("!I", payload)[0]
        do = serve if letter == b"J" else touch
        do(json.loads(payload[4 : 4 + size]), payload[4 + size :])
