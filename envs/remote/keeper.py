"""Keeps one side alive exactly as long as the process that wants it. Started by path.

    python keeper.py PARENT_PID LIFE_FD MEMORY_MB COMMAND...

The side gets this process's stdin, stdout and stderr, a session and a TMPDIR of its own. All of it,
with whatever it has started, ends when the other end of the descriptor LIFE_FD closes (politely:
its stdin closes too, and it has `GRACE_S`), when a byte comes over it (at once), when the parent
dies, when it takes more than MEMORY_MB together, or when the side itself ends. Exit status: the
side's, 128 and the number of the signal that ended it, or `OUT_OF_MEMORY`. Standard library only.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 3.0
LOOK_S = 0.5
OUT_OF_MEMORY = 250


def main() -> int:
    """Run the command of the command line; return what became of it."""
    parent, life, memory_mb = map(int, sys.argv[1:4])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal's Ctrl-C is the parent's business
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)

    def begin() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    folder = tempfile.mkdtemp(prefix="munro-side-")
    side = subprocess.Popen(
        sys.argv[4:],
        env={**os.environ, "TMPDIR": folder},
        start_new_session=True,
        preexec_fn=begin,  # safe: this process has one thread
    )
    # whoever holds the other ends must see the side's own end, not ours
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    descendants = _descendants()
    is_full = False
    try:
        is_full = _wait(side, parent, life, memory_mb, descendants)
    finally:
        end_all(side, descendants)
        shutil.rmtree(folder, ignore_errors=True)
    if is_full:
        return OUT_OF_MEMORY
    return side.returncode if side.returncode >= 0 else 128 - side.returncode


def _wait(
    side: subprocess.Popen[bytes],
    parent: int,
    life: int,
    memory_mb: int,
    descendants: Callable[[], list[int]],
) -> bool:
    """Return when the side has to end, or has ended; whether for want of memory."""
    watched = [life]
    if sys.platform == "linux":
        watched.append(os.pidfd_open(side.pid))
    while side.poll() is None and os.getppid() == parent:
        ready, _, _ = select.select(watched, [], [], LOOK_S)
        if life in ready:
            if not os.read(life, 1):  # closed: no more is wanted of it
                with suppress(subprocess.TimeoutExpired):
                    side.wait(GRACE_S)
            return False
        if memory_mb and resident_bytes(descendants()) > memory_mb << 20:
            return True
    return False


def end_all(side: subprocess.Popen[bytes], descendants: Callable[[], list[int]]) -> None:
    """End the side and whatever it left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(side.pid, signal.SIGKILL)
    side.wait()
    # orphans come to us, the subreaper, one generation after the other
    while left := descendants():
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    with suppress(ChildProcessError):  # there are none left to collect
        while True:
            os.waitpid(-1, 0)


def resident_bytes(pids: Iterable[int]) -> int:
    """Memory that processes hold, what they share counted for each."""
    pages = 0
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            pages += int(statm.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _descendants() -> Callable[[], list[int]]:
    """The neighbour's way to list what runs below a process: loaded by path, as this file is."""
    if sys.platform != "linux":
        return list
    file = Path(__file__).parents[2] / "rewards" / "serving" / "server_child.py"
    spec = importlib.util.spec_from_file_location("server_child", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[], list[int]] = module.descendants
    return found


if __name__ == "__main__":
    sys.exit(main())
