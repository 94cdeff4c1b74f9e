"""First process of a run's pid namespace: starts the program, holds its limits, cleans up after it.

It is a fork of the template that has entered namespaces of its own, dropped every capability,
loaded the filter of system calls and made itself unreadable, all of it before the first byte of
the program is there. When it ends, whatever the program left running ends with it. A session is a
keeper that is asked more than once.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from munro.rewards.sandbox.inside import files, place, program, seccomp, syscalls, wire

TICK_S = 0.02
MIB = 1 << 20
FILTERS = {
    is_counted: seccomp.program(syscalls.MACHINE, is_counted=is_counted)
    for is_counted in (False, True)
}
"""By whether a control group counts the memory of the run."""
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Failed(Exception):
    """The sandbox, not the program, could not do its part."""


@dataclass
class Watch:
    """What has been seen of a program so far."""

    pid: int
    limits: dict[str, Any]
    is_counted: bool
    """A cgroup counts its memory."""
    start: float = field(default_factory=time.monotonic)
    status: int | None = None
    limit: str | None = None
    peak_bytes: int = 0
    cpu_before: float = field(default_factory=lambda: _reaped_cpu_s())
    cpu_s: float = 0.0
    seen: dict[tuple[str, bytes], int] = field(default_factory=dict)
    """Ticks of its own that each process had when it was last seen, by number and start."""

    @property
    def is_over(self) -> bool:
        return self.status is not None or self.limit is not None


@dataclass
class Waiting:
    """A process that will be the program, and the socket over which it hears which one."""

    pid: int
    link: socket.socket


def serve(
    link: socket.socket, network: int, room: dict[str, Any], groups: Sequence[int]
) -> NoReturn:
    """Make everything ready, then answer requests until the caller's socket closes.

    Args:
        link: to the caller.
        network: descriptor of the network namespace to be in.
        room: as `place.make` takes it.
        groups: open `cgroup.procs` of the control groups that programs are to be in.
    """
    # process 1 is deaf to every signal but those that have a handler, as Python gives this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        try:
            upper = _enter(network, room, is_counted=bool(groups))
            waiting: Waiting | None = _fork(groups)
            # a pid namespace has ids of its own, so only a descriptor names this process outside
            myself = os.pidfd_open(os.getpid())
            told = [myself] if upper is None else [myself, upper]
            wire.send(link, {}, descriptors=told)
            for descriptor in told:
                os.close(descriptor)
            while True:
                request, blob, descriptors = wire.receive(link)
                if "command" not in request:
                    continue  # a word to stop that came after the end
                _answer(link, waiting or _fork(groups), request, blob, descriptors, bool(groups))
                waiting = None
        except (OSError, Failed) as failure:
            wire.send(link, {"fatal": str(failure)})
    except (wire.Closed, OSError):
        pass
    os._exit(0)


def _fork(groups: Sequence[int]) -> Waiting:
    """The next program, as far as it can be before it is known."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            program.wait(theirs, groups)
        finally:
            os._exit(1)  # whatever a program does, it never gets back to being a keeper
    theirs.close()
    return Waiting(pid, ours)


def _enter(network: int, room: dict[str, Any], *, is_counted: bool) -> int | None:
    """Namespaces, file systems and the end of all privilege; returns what `place.make` does."""
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC)
    syscalls.setns(network, syscalls.CLONE_NEWNET)
    os.close(network)
    upper = place.make(room)
    # a user namespace that owns none of the others: no right over them can come back
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    for name, text in (
        ("setgroups", b"deny"),
        ("uid_map", b"65534 65534 1"),
        ("gid_map", b"65534 65534 1"),
    ):
        file = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        os.write(file, text)
        os.close(file)
    syscalls.drop_capabilities()
    syscalls.filter_calls(FILTERS[is_counted])
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    return upper


def _answer(
    link: socket.socket,
    waiting: Waiting,
    request: wire.Head,
    blob: bytes,
    descriptors: Sequence[int],
    is_counted: bool,
) -> None:
    """Run one program and send what became of it."""
    names = [wire.unpack(name) for name, _ in request["files"]]
    contents = wire.split(blob, [size for _, size in request["files"]])
    limits = request["limits"]
    watch = Watch(pid=waiting.pid, limits=limits, is_counted=is_counted)
    try:
        files.put(list(zip(names, contents, strict=True)))
    except OSError as failure:
        if failure.errno not in (errno.ENOSPC, errno.EFBIG, errno.ENAMETOOLONG):
            raise
        watch.limit = "disk"
    try:
        if watch.limit is None:
            _start(waiting, request, descriptors)
    finally:
        waiting.link.close()
        for descriptor in descriptors:
            os.close(descriptor)
    watch.start = time.monotonic()
    _wait(watch, link)
    _end_all(watch)
    wall_s = time.monotonic() - watch.start
    found, is_cut = files.get([wire.unpack(path) for path in request["want"]], _disk(limits))
    disk = os.statvfs(files.TEMPORARY)
    report = {
        "status": watch.status if watch.limit is None else -signal.SIGKILL,
        "limit": watch.limit,
        "is_full": is_cut or disk.f_bavail == 0 or disk.f_favail == 0,
        "cpu_s": watch.cpu_s,
        "wall_s": wall_s,
        "peak_bytes": watch.peak_bytes,
        "files": [[wire.pack(path), len(contents)] for path, contents in found],
    }
    wire.send(link, report, [contents for _, contents in found])


def _disk(limits: dict[str, Any]) -> int:
    return int(limits["disk_mb"]) * MIB


def _start(waiting: Waiting, request: wire.Head, descriptors: Sequence[int]) -> None:
    """Let it be the program, and return when it is past all that is ours."""
    with suppress(wire.Closed):  # if it has died, it may have said why
        wire.send(waiting.link, request, descriptors=descriptors)
    try:
        complaint, _, _ = wire.receive(waiting.link)
    except wire.Closed:
        return
    raise Failed(complaint["fatal"])


def _wait(watch: Watch, link: socket.socket) -> None:
    """Until the program has ended, or has spent a limit, or is to be stopped."""
    poll = select.poll()
    poll.register(link, select.POLLIN)
    child = os.pidfd_open(watch.pid)
    try:
        poll.register(child, select.POLLIN)
        deadline = watch.start + watch.limits["wall_s"]
        while not watch.is_over:
            rest = deadline - time.monotonic()
            ready = {descriptor for descriptor, _ in poll.poll(max(0, min(TICK_S, rest)) * 1000)}
            if link.fileno() in ready:
                wire.receive(link)  # whatever it says, it says to stop
                watch.limit = "stopped"
            elif child not in ready:
                if rest <= 0:
                    watch.limit = "wall"
                else:
                    _measure(watch)
            _reap(watch, os.WNOHANG)
    finally:
        os.close(child)


def _measure(watch: Watch) -> None:
    """Add up what all its processes use, and name a limit that they are over."""
    tasks, resident, cpu = 0, 0, 0
    names = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
    for name in names:
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        cpu += sum(map(int, fields[11:15]))  # its own and its children's, user and system
        watch.seen[name, fields[19]] = int(fields[11]) + int(fields[12])
        tasks += max(1, int(fields[17]))
        resident += int(fields[21]) * PAGE_BYTES
    watch.peak_bytes = max(watch.peak_bytes, resident)
    reckoned = cpu / CLOCK_TICKS + _reaped_cpu_s() - watch.cpu_before
    # children that their parent never waits for are in nobody's sum, once they have ended
    watch.cpu_s = max(watch.cpu_s, reckoned, sum(watch.seen.values()) / CLOCK_TICKS)
    if watch.cpu_s >= watch.limits["cpu_s"]:
        watch.limit = "cpu"
    elif tasks > watch.limits["processes"]:
        watch.limit = "processes"
    elif not watch.is_counted and resident > watch.limits["memory_mb"] * MIB:
        # pages that many share were counted for each: look closer, which takes longer
        shares = sum(map(_share_bytes, names))
        watch.limit = "memory" if shares > watch.limits["memory_mb"] * MIB else None


def _share_bytes(name: str) -> int:
    """Memory of process `name`, shared pages by their share; resident where it hides that."""
    try:
        with open(f"/proc/{name}/smaps_rollup", "rb") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith(b"Pss:"))
    except (OSError, StopIteration):
        pass
    try:
        with open(f"/proc/{name}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES
    except OSError:
        return 0  # it has ended meanwhile


def _reap(watch: Watch, how: int) -> None:
    """Take note of every child that has ended: the program, or an orphan of its."""
    with suppress(ChildProcessError):
        while True:
            pid, status, usage = os.wait4(-1, how)
            if pid == 0:
                return
            watch.peak_bytes = max(watch.peak_bytes, usage.ru_maxrss * 1024)
            if pid == watch.pid:
                watch.status = os.waitstatus_to_exitcode(status)


def _end_all(watch: Watch) -> None:
    """Kill what is left of it. When this returns, no process but ours is alive in here."""
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    _reap(watch, 0)
    watch.cpu_s = max(watch.cpu_s, _reaped_cpu_s() - watch.cpu_before)


def _reaped_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
