"""An interpreter that has imported what programs import, and forks a keeper for every run.

It is process 1 of the sandbox's outer pid namespace and has one thread. No hostile code ever runs
in it, nor in any process that it forks from: a run is a fork of a fork, and is never used again.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import site
import socket
import sys
from contextlib import suppress

from munro.rewards.sandbox.inside import keeper, syscalls, wire

LINK = 3
COMMON = (
    "array",
    "asyncio",
    "bisect",
    "calendar",
    "cmath",
    "csv",
    "datetime",
    "decimal",
    "difflib",
    "fractions",
    "hashlib",
    "heapq",
    "json",
    "logging",
    "pathlib",
    "pprint",
    "queue",
    "random",
    "shutil",
    "statistics",
    "string",
    "tempfile",
    "timeit",
    "typing",
    "unittest",
    "uuid",
)
"""With what each of them imports in its turn: nearly all that a short program asks for."""


def main(plan: wire.Head) -> None:
    """Serve forks until the caller's socket closes.

    Args:
        plan: what `launch` was given.
    """
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    # a program may signal process 1 of its namespace, which heeds what it has a handler for
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    link = socket.socket(fileno=LINK)
    link.set_inheritable(False)
    try:
        quiet = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        syscalls.mount("proc", "/proc", "proc", quiet)
        socket.sethostname("sandbox")
        _become_ready(plan)
        spaces = Spaces()
    except (OSError, ImportError) as failure:
        wire.send(link, {"fatal": str(failure)})
        return
    wire.send(link, {"ready": True})
    with suppress(wire.Closed):
        while True:
            request, _, (descriptor, *groups) = wire.receive(link)
            with socket.socket(fileno=descriptor) as control:
                try:
                    _fork(link, spaces, control, request, groups)
                except OSError as failure:
                    with suppress(wire.Closed):
                        wire.send(control, {"fatal": str(failure)})
            for group in groups:
                os.close(group)
    os._exit(0)


def _become_ready(plan: wire.Head) -> None:
    """Import what programs import, so that their own import statements cost nothing."""
    site.setquit()  # exit() and quit(), which `-S` leaves out
    site.setcopyright()
    site.sethelper()
    sys.path.extend(plan["packages"])
    for name in (*COMMON, *plan["preload"]):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


class Spaces:
    """Network namespaces, each with nothing in it, lent to one run after another.

    Making one takes the kernel longer than all else that a run needs. Nothing can stay behind in
    one: only local sockets can be made in there, and they end with the processes that hold them.
    Where a run has a loopback that does not hold (a port is taken for a while after its end), so
    such a run gets one of its own.
    """

    def __init__(self) -> None:
        self.own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._free: list[int] = []
        self._lent: dict[int, int] = {}

    def take(self, *, is_new: bool) -> int:
        """A descriptor of one in which no process is; with `is_new`, nor ever was."""
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                if pid in self._lent:
                    self._free.append(self._lent.pop(pid))
        if self._free and not is_new:
            return self._free.pop()
        syscalls.unshare(syscalls.CLONE_NEWNET)
        return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def lend(self, space: int, pid: int) -> None:
        """Until process `pid`, the first of its pid namespace, has ended."""
        self._lent[pid] = space

    def give_back(self, space: int) -> None:
        """Nobody came to be in it."""
        self._free.append(space)

    def close(self) -> None:
        """In a child: hold none of them."""
        for descriptor in (self.own_pids, *self._free, *self._lent.values()):
            os.close(descriptor)


def _fork(
    link: socket.socket,
    spaces: Spaces,
    control: socket.socket,
    room: wire.Head,
    groups: list[int],
) -> None:
    """A keeper in a pid namespace of its own, which talks over `control`."""
    space = spaces.take(is_new=room["loopback"])
    pid = -1
    try:
        syscalls.unshare(syscalls.CLONE_NEWPID)
        try:
            pid = os.fork()
        finally:
            if pid != 0:
                syscalls.setns(spaces.own_pids, syscalls.CLONE_NEWPID)
        if pid == 0:
            try:
                link.close()
                spaces.close()
                keeper.serve(control, space, room, groups)
            finally:
                os._exit(1)  # whatever happens, this process never gets back to the loop
    finally:
        if room["loopback"]:
            os.close(space)
        elif pid > 0:
            spaces.lend(space, pid)
        else:
            spaces.give_back(space)
