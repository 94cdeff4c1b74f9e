"""First process of a run's pid namespace: starts the program, holds its limits, cleans up after it.

It is a fork of the template that has entered namespaces of its own, dropped every capability,
loaded the filter of system calls and made itself unreadable, all of it before the first byte of
the program is there. When it ends, whatever the program left running ends with it. A session is a
keeper that is asked more than once.
"""

from __future__ import annotations

import errno
import math
import os
import resource
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from munro.rewards.sandbox.inside import files, place, program, seccomp, syscalls, wire

TICK_S = 0.02
IDLE_TICK_S = 0.1
"""Between the commands of a session that has processes which go on."""
STOP_S = 1.0
"""How long they may take to stand still."""
MIB = 1 << 20
FILTERS = {
    (is_counted, has_loopback): seccomp.program(
        syscalls.MACHINE, is_counted=is_counted, has_loopback=has_loopback
    )
    for is_counted in (False, True)
    for has_loopback in (False, True)
}
"""By whether a control group counts the memory of the run, and whether it has a loopback."""
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
    before: dict[tuple[str, bytes], tuple[int, int]] = field(default_factory=dict)
    """Of processes of earlier commands: ticks of their own, and with their children's."""
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
        groups: open `cgroup.procs` of the control groups that programs are to be in; and, where
            the room has one, its disk.
    """
    disk = -1
    if room["has_disk"]:
        *groups, disk = groups
    # process 1 is deaf to every signal but those that have a handler, as Python gives this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        try:
            upper = _enter(network, room, disk, is_counted=bool(groups))
            waiting: Waiting | None = _fork(groups)
            # a pid namespace has ids of its own, so only a descriptor names this process outside
            myself = os.pidfd_open(os.getpid())
            told = [myself] if upper is None else [myself, upper]
            wire.send(link, {}, descriptors=told)
            for descriptor in told:
                os.close(descriptor)
            kept: Watch | None = None
            while True:
                _idle(link, kept)
                request, blob, descriptors = wire.receive(link)
                if "word" in request:
                    _heed(link, request["word"])
                elif "path" in request:
                    _touch(link, request, blob, keeps=kept is not None)
                elif "command" in request:  # else a word to stop that came after the end
                    child = waiting or _fork(groups)
                    kept = _answer(link, child, request, blob, descriptors, bool(groups))
                    # while its caller thinks; but not beside programs, which could kill it
                    is_next = request["expects_more"] and not request["keeps"]
                    waiting = _fork(groups) if is_next else None
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


def _enter(network: int, room: dict[str, Any], disk: int, *, is_counted: bool) -> int | None:
    """Namespaces, file systems and the end of all privilege; returns what `place.make` does."""
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC)
    syscalls.setns(network, syscalls.CLONE_NEWNET)
    os.close(network)
    if room["loopback"]:
        syscalls.raise_loopback()
    upper = place.make(room, disk)
    if disk >= 0:
        os.close(disk)
    files.hold_proc()
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
    syscalls.filter_calls(FILTERS[is_counted, room["loopback"]])
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    return upper


def _answer(
    link: socket.socket,
    waiting: Waiting,
    request: wire.Head,
    blob: bytes,
    descriptors: Sequence[int],
    is_counted: bool,
) -> Watch | None:
    """Run one program and send what became of it; a watch over what it leaves running, if any."""
    names = [wire.unpack(name) for name, _ in request["files"]]
    contents = wire.split(blob, [size for _, size in request["files"]])
    limits, keeps = request["limits"], request["keeps"]
    watch = Watch(pid=waiting.pid, limits=limits, is_counted=is_counted)
    try:
        with _standstill(is_needed=keeps):
            files.put(list(zip(names, contents, strict=True)))
    except OSError as failure:
        if failure.errno not in (errno.ENOSPC, errno.EFBIG, errno.ENAMETOOLONG):
            raise
        watch.limit = files.full() or "disk"
    try:
        if watch.limit is None:
            _start(waiting, request, descriptors)
    finally:
        waiting.link.close()
        for descriptor in descriptors:
            os.close(descriptor)
    watch.start = time.monotonic()
    if keeps:
        watch.before = {key: ticks for key, ticks, _ in _processes(but=watch.pid)}
    _wait(watch, link)
    if keeps and watch.limit in (None, "wall", "stopped"):
        _end_command(watch)
    else:
        _end_all(watch)
    wall_s = time.monotonic() - watch.start
    with _standstill(is_needed=keeps):
        found, is_cut = files.get([wire.unpack(path) for path in request["want"]], _disk(limits))
    report = {
        "status": watch.status if watch.limit is None else -signal.SIGKILL,
        "limit": watch.limit,
        "full": files.full() or ("disk" if is_cut else None),
        "cpu_s": watch.cpu_s,
        "wall_s": wall_s,
        "peak_bytes": watch.peak_bytes,
        "files": [[wire.pack(path), len(contents)] for path, contents in found],
    }
    wire.send(link, report, [contents for _, contents in found])
    if keeps and _processes():
        return Watch(pid=0, limits={**limits, "cpu_s": math.inf}, is_counted=is_counted)
    return None


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


def _processes(but: int = 0) -> list[tuple[tuple[str, bytes], tuple[int, int], tuple[int, int]]]:
    """Of each process beside this one and `but`: what it is (number and start); ticks of its own,
    and with its children's; threads and resident bytes."""
    found = []
    for name in files.numbers():
        if name in ("1", str(but)):
            continue
        try:
            with open(f"{name}/stat", "rb", opener=files.in_proc) as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        ticks = list(map(int, fields[11:15]))  # its own and its children's, user and system
        size = max(1, int(fields[17])), int(fields[21]) * PAGE_BYTES
        found.append(((name, fields[19]), (sum(ticks[:2]), sum(ticks)), size))
    return found


def _measure(watch: Watch) -> None:
    """Add up what all its processes use, and name a limit that they are over."""
    tasks, resident, cpu = 0, 0, -sum(whole for _, whole in watch.before.values())
    processes = _processes()
    for key, (own, whole), (threads, size) in processes:
        cpu += whole
        watch.seen[key] = own - watch.before.get(key, (0, 0))[0]
        tasks += threads
        resident += size
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
        shares = sum(_share_bytes(name) for (name, _), _, _ in processes)
        watch.limit = "memory" if shares > watch.limits["memory_mb"] * MIB else None


def _share_bytes(name: str) -> int:
    """Memory of process `name`, shared pages by their share; resident where it hides that."""
    try:
        with open(f"{name}/smaps_rollup", "rb", opener=files.in_proc) as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith(b"Pss:"))
    except (OSError, StopIteration):
        pass
    try:
        with open(f"{name}/statm", "rb", opener=files.in_proc) as file:
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


def _end_command(watch: Watch) -> None:
    """Kill a command that is over its time, but not what went its own way before."""
    if watch.limit is not None:
        for end in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                end(watch.pid, signal.SIGKILL)
    limit = watch.limit
    _measure(watch)
    watch.limit = limit
    if watch.status is None:
        _, status, usage = os.wait4(watch.pid, 0)
        watch.peak_bytes = max(watch.peak_bytes, usage.ru_maxrss * 1024)
        watch.status = os.waitstatus_to_exitcode(status)
    deadline = time.monotonic() + STOP_S
    while True:
        _reap(watch, os.WNOHANG)
        if limit is None or not _is_group(watch.pid) or time.monotonic() > deadline:
            return
        time.sleep(0.001)


def _is_group(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def _idle(link: socket.socket, kept: Watch | None) -> None:
    """Until the caller says something: hold the limits of processes that go on."""
    if kept is None:
        return
    poll = select.poll()
    poll.register(link, select.POLLIN)
    while not poll.poll(IDLE_TICK_S * 1000):
        _reap(kept, os.WNOHANG)
        _measure(kept)
        if kept.limit is not None:
            _end_all(kept)
            return


def _heed(link: socket.socket, word: str) -> None:
    """Do what the caller says of the processes that go on, and say so."""
    if word == "pause":
        _stop()
    elif word == "go on":
        _continue()
    else:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.wait()
    wire.send(link, {"word": word})


def _touch(link: socket.socket, request: wire.Head, blob: bytes, *, keeps: bool) -> None:
    """Look at a path or write to it, for the caller himself."""
    path = wire.unpack(request["path"])
    with _standstill(is_needed=keeps):
        if request["does"] == "look":
            found = files.look(path, request["most_bytes"], request["depth"])
            kind, mode, size, names, contents = found
            said = {"kind": kind, "mode": mode, "size": size, "names": list(map(wire.pack, names))}
        else:
            said = {"failure": files.write(path, blob if request["does"] == "write" else None)}
            contents = b""
    wire.send(link, said, [contents])


@contextmanager
def _standstill(*, is_needed: bool) -> Iterator[None]:
    """While this lasts, nothing in here moves but us."""
    if not is_needed:
        yield
        return
    _stop()
    try:
        yield
    finally:
        _continue()


def _stop() -> None:
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGSTOP)
    deadline = time.monotonic() + STOP_S
    while _is_moving() and time.monotonic() < deadline:
        time.sleep(0.001)


def _continue() -> None:
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGCONT)


def _is_moving() -> bool:
    for name in files.numbers():
        if name != "1":
            with suppress(OSError), open(f"{name}/stat", "rb", opener=files.in_proc) as file:
                if file.read().rpartition(b")")[2].split()[0] not in b"TtZXx":
                    return True
    return False


def _end_all(watch: Watch) -> None:
    """Kill what is left of it. When this returns, no process but ours is alive in here."""
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    _reap(watch, 0)
    watch.cpu_s = max(watch.cpu_s, _reaped_cpu_s() - watch.cpu_before)


def _reaped_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
