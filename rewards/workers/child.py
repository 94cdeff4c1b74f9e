"""What runs in the child processes of `munro.rewards.workers.pool`. Started by path, never
imported.

It stands alone (standard library, nothing of ours at the top), because it limits itself before it
imports anything else. What is started is the template: it imports what jobs need, stays
single-threaded, and forks a child whenever it is asked to. Frames are four bytes of length (big
endian), then JSON. Only JSON ever comes back, so nothing that a model wrote is unpickled.

    parent                                      template, over a socket that is its stdin
    {path, parent, memory_bytes, sealed,   ->
     preload}                                   limits, imports, preload
                                           <-   {"ready": true} or {"fatal": reason}
    "f" and two pipes                      ->   fork
                                           <-   process id, or minus the error's number
    "r" and a process id                   ->   wait for that child
                                           <-   its exit status

    parent                                      child, over its two pipes; sealed from its birth
    {function, args, cpu_s}                ->
                                           <-   {"value": ...} or {"error": kind, "detail": text},
                                                and "retire": true once half its memory is taken
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
COMMAND = struct.Struct(">ci")
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FORBIDDEN = (
    "ctypes.",
    "ftplib.",
    "http.",
    "os.chmod",
    "os.chown",
    "os.exec",
    "os.fork",
    "os.kill",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.putenv",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.spawn",
    "os.startfile",
    "os.symlink",
    "os.system",
    "os.truncate",
    "pty.",
    "shutil.",
    "signal.",
    "smtplib.",
    "socket.",
    "subprocess.",
    "tempfile.",
    "urllib.",
)


def main() -> None:
    """Import what jobs need, then fork on demand until the parent closes the socket."""
    control = socket.socket(fileno=os.dup(0))
    # libraries may print, and read: the null device is what they are given
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    settings = _read(control.fileno())
    if settings is None:
        return
    try:
        _die_with(settings["parent"])
        _limit(settings)
        jobs: dict[str, Callable[..., Any]] = {}
        for entry in settings["preload"]:
            name, *args = [entry] if isinstance(entry, str) else entry
            if ":" in name:
                _resolve(name, jobs)(*args)
            else:
                importlib.import_module(name)
        _refuse_threads()
    except BaseException as failure:
        _write(control.fileno(), {"fatal": f"{type(failure).__name__}: {failure}"})
        raise
    os.dup2(null, 2)
    os.close(null)
    gc.collect()
    gc.freeze()  # collections in children leave these pages alone: they stay shared
    _write(control.fileno(), {"ready": True})
    _fork_on_demand(control, jobs, is_sealed=settings["sealed"])


def _fork_on_demand(
    control: socket.socket, jobs: dict[str, Callable[..., Any]], *, is_sealed: bool
) -> None:
    template = os.getpid()
    while True:
        word, pipes, _, _ = socket.recv_fds(control, COMMAND.size, 2)
        if not word:
            return
        verb, pid = COMMAND.unpack(word)
        if verb == b"r":
            number = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        else:
            try:
                number = os.fork()
            except OSError as refusal:
                number = -(refusal.errno or 1)
            if number == 0:
                control.close()
                _become_child(template, pipes[0], pipes[1], jobs, is_sealed=is_sealed)
            for pipe in pipes:
                os.close(pipe)
        control.send(struct.pack(">i", number))


def _become_child(
    template: int,
    requests: int,
    answers: int,
    jobs: dict[str, Callable[..., Any]],
    *,
    is_sealed: bool,
) -> NoReturn:
    """Serve jobs until the parent closes the pipe, and never return into the template's code."""
    status = 1
    try:
        os.setsid()  # so that whatever a job starts can be ended with it
        _die_with(template)
        if is_sealed:
            _seal()
        while (request := _read(requests)) is not None:
            answer = _answer(request, jobs)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _write(answers, answer)
        status = 0
    finally:
        os._exit(status)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the parent was gone before the child had begun")


def _limit(settings: dict[str, Any]) -> None:
    """Bound memory; write no files, dump no core. Children inherit it."""
    memory = settings["memory_bytes"]
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if settings["sealed"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.path[:] = settings["path"]


def _refuse_threads() -> None:
    """A fork takes one thread along, and the locks of all others as they happen to be."""
    if sys.platform == "linux" and len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("preloading left a thread running, which children could not fork from")


def _seal() -> None:
    """Refuse whatever a checker never needs: processes, sockets, signals, writing to files.

    An audit hook is no sandbox against native code; it is the second line behind "text is parsed
    by grammar and never evaluated", and it turns a hole in the first into an error.
    """

    def guard(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            mode, flags = args[1], args[2]
            writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
            if writes or (isinstance(flags, int) and flags & WRITE_FLAGS):
                raise PermissionError("a sealed worker writes no files")
        elif event.startswith(FORBIDDEN):
            raise PermissionError(f"a sealed worker may not do {event}")

    sys.addaudithook(guard)


def _answer(request: dict[str, Any], jobs: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    # a profiling alarm nobody handles ends the process, in the middle of native code too
    signal.setitimer(signal.ITIMER_PROF, request["cpu_s"])
    try:
        value = _resolve(request["function"], jobs)(*request["args"])
        json.dumps(value)
        return {"value": value, "retire": _is_full()}
    except MemoryError:
        return {"error": "memory", "detail": "out of memory"}
    except RecursionError:
        return {"error": "raised", "detail": "nested too deeply"}
    # the boundary: whatever a job raised is its result
    except Exception as failure:  # noqa: BLE001
        return {"error": "raised", "detail": f"{type(failure).__name__}: {failure}"[:500]}


def _is_full() -> bool:
    """Whether caches have taken so much that the next job might starve for their sake."""
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform != "linux" or most == resource.RLIM_INFINITY:
        return False
    with open("/proc/self/statm", "rb") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    return used > most // 2


def _resolve(name: str, jobs: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    """The function behind `package.module:function`."""
    if name not in jobs:
        module, _, attribute = name.partition(":")
        jobs[name] = getattr(importlib.import_module(module), attribute)
    return jobs[name]


def _read(descriptor: int) -> dict[str, Any] | None:
    head = _read_exactly(descriptor, 4)
    if head is None:
        return None
    body = _read_exactly(descriptor, struct.unpack(">I", head)[0])
    if body is None:
        return None
    frame: dict[str, Any] = json.loads(body)
    return frame


def _read_exactly(descriptor: int, size: int) -> bytes | None:
    chunks = []
    while size:
        chunk = os.read(descriptor, min(size, 1 << 20))
        if not chunk:
            return None
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _write(descriptor: int, frame: dict[str, Any]) -> None:
    body = json.dumps(frame).encode("ascii")
    rest = memoryview(struct.pack(">I", len(body)) + body)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


if __name__ == "__main__":
    main()
