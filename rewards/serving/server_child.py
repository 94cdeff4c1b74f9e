"""Keeps one server alive exactly as long as the process that wants it. Started by path.

    python server_child.py PARENT_PID [--talks] COMMAND...

Runs the command with everything it starts in a session of its own, and ends all of it when stdin
closes, when the parent dies, when it is told to (SIGTERM), or when the command itself ends. A
server's own children outlive it otherwise, with the memory of the model. With --talks stdin is the
command's own, whose end it may take as it likes. It stands alone: standard library only.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 5.0
TALKS_GRACE_S = 1.0
"""For a server that talks over pipes: nothing of it is worth waiting for."""


def main() -> int:
    """Run the command of the command line; return its exit status."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    talks = command[0] == "--talks"
    ends, told = os.pipe()

    def tell(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal's own form
        os.write(told, b"x")

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, tell)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we could ask to be told
        return 1

    def die_with_us() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    server = subprocess.Popen(
        command[1:] if talks else command,
        stdin=None if talks else subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_us,  # safe: this process has one thread
    )
    try:
        heard = [ends, os.pidfd_open(server.pid), *([] if talks else [0])]
        if talks:  # what is in our pipes is between the server and who talks to it
            for descriptor in (0, 1):
                os.close(descriptor)
        select.select(heard, [], [])
    finally:
        end_all(server, TALKS_GRACE_S if talks else GRACE_S)
    return server.returncode


def end_all(server: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the server and whatever it left: politely at first, then for certain."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(grace_s)
    # orphans come to us, the subreaper, one generation after the other
    while left := descendants():
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.wait()
        time.sleep(0.01)
    with suppress(ChildProcessError):  # there are none left to collect
        while True:
            os.waitpid(-1, 0)


def descendants() -> list[int]:
    """Every process below this one, dead but not yet collected ones left out."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError), open(f"/proc/{entry}/stat", encoding="utf-8") as stat:
            # "pid (name) state parent ...", and a name may hold anything
            state, above = stat.read().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(above), []).append(int(entry))
    found, ours = [], [os.getpid()]
    while ours:
        below = children.get(ours.pop(), [])
        found += below
        ours += below
    return found


if __name__ == "__main__":
    sys.exit(main())
