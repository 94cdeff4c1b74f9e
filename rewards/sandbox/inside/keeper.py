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

from rewards.sandbox.inside import files, program, seccomp, syscalls, wire

NOBODY = 65534
TICK_S = 0.02
MIB = 1 << 20
INODES = 16_384
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

    @property
    def is_over(self) -> bool:
        return self.status is not None or self.limit is not None


def serve(link: socket.socket, network: int) -> NoReturn:
    """Answer requests until the caller's socket closes.

    Args:
        link: to the caller.
        network: descriptor of the network namespace to be in.
    """
    # process 1 is deaf to every signal but those that have a handler, as Python gives this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # a pid namespace has ids of its own, so only a descriptor names this process outside
        myself = os.pidfd_open(os.getpid())
        wire.send(link, {}, descriptors=[myself])
        os.close(myself)
        request, blob, descriptors = wire.receive(link)
        try:
            _enter(network, request["limits"]["disk_mb"], is_counted=len(descriptors) > 3)
            while True:
                _answer(link, request, blob, descriptors)
                request, blob, descriptors = wire.receive(link)
        except (OSError, Failed) as failure:
            wire.send(link, {"fatal": str(failure)})
    except (wire.Closed, OSError):
        pass
    os._exit(0)


def _enter(network: int, disk_mb: int, *, is_counted: bool) -> None:
    """Namespaces, file systems and the end of all privilege."""
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC)
    syscalls.setns(network, syscalls.CLONE_NEWNET)
    os.close(network)
    quiet = syscalls.MS_NOSUID | syscalls.MS_NODEV
    room = f"size={disk_mb}m,nr_inodes={INODES},mode=1777"
    syscalls.mount("tmp", files.TEMPORARY, "tmpfs", quiet, room)
    syscalls.mount("proc", "/proc", "proc", quiet | syscalls.MS_NOEXEC, "subset=pid")
    # a user namespace that owns none of the others: no right over them can come back
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{NOBODY} {NOBODY} 1"),
        ("gid_map", f"{NOBODY} {NOBODY} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    syscalls.drop_capabilities()
    syscalls.filter_calls(seccomp.program(syscalls.MACHINE, is_counted=is_counted))
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)


def _answer(
    link: socket.socket, request: wire.Head, blob: bytes, descriptors: Sequence[int]
) -> None:
    """Run one program and send what became of it."""
    if "command" not in request:
        return  # a word to stop that came after the end
    names, sizes = zip(*request["files"], strict=True) if request["files"] else ((), ())
    contents = wire.split(blob, sizes)
    limits = request["limits"]
    try:
        files.put(list(zip(map(wire.unpack, names), contents, strict=True)))
    except OSError as failure:
        if failure.errno not in (errno.ENOSPC, errno.EFBIG, errno.ENAMETOOLONG):
            raise
        for descriptor in descriptors:
            os.close(descriptor)
        wire.send(link, _UNSTARTED)
        return
    watch = _start(request, descriptors, is_counted=len(descriptors) > 3)
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


_UNSTARTED = {
    "status": -signal.SIGKILL,
    "limit": "disk",
    "is_full": True,
    "cpu_s": 0.0,
    "wall_s": 0.0,
    "peak_bytes": 0,
    "files": [],
}
"""The report on a program whose own files did not fit."""


def _start(request: wire.Head, descriptors: Sequence[int], *, is_counted: bool) -> Watch:
    """The program on its way, past all that is ours."""
    heard, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        program.become(request, descriptors, said)
    os.close(said)
    for descriptor in descriptors:
        os.close(descriptor)
    with open(heard, "rb") as pipe:
        complaint = pipe.read()
    if complaint:
        raise Failed(complaint.decode(errors="replace"))
    return Watch(pid=pid, limits=request["limits"], is_counted=is_counted)


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
        tasks += max(1, int(fields[17]))
        resident += int(fields[21]) * PAGE_BYTES
    watch.peak_bytes = max(watch.peak_bytes, resident)
    watch.cpu_s = cpu / CLOCK_TICKS + _reaped_cpu_s() - watch.cpu_before
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
    watch.cpu_s = _reaped_cpu_s() - watch.cpu_before


def _reaped_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
