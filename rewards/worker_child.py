"""What runs inside one child process of `rewards.workers`. Started by path, never imported.

It stands alone (standard library, nothing of ours at the top), because it limits itself before it
imports anything else. The protocol is frames over stdin and stdout: four bytes of length (big
endian), then JSON. Only JSON ever comes back, so nothing that a model wrote is unpickled.

    parent                                      child
    {path, parent, memory_bytes, sealed,   ->
     preload}                                   limits, imports, preload, seal
                                           <-   {"ready": true} or {"fatal": reason}
    {function, args, cpu_s}                ->
                                           <-   {"value": ...} or {"error": kind, "detail": text},
                                                and "retire": true once half its memory is taken
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG = 1
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
    """Serve jobs until stdin ends."""
    # libraries may print: what they print must not be taken for an answer
    requests, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    settings = _read(requests)
    if settings is None:
        return
    try:
        _limit(settings)
        jobs: dict[str, Callable[..., Any]] = {}
        for name in settings["preload"]:
            _resolve(name, jobs)()
    except BaseException as failure:
        _write(answers, {"fatal": f"{type(failure).__name__}: {failure}"})
        raise
    os.dup2(null, 2)
    os.close(null)
    if settings["sealed"]:
        _seal()
    _write(answers, {"ready": True})
    while (request := _read(requests)) is not None:
        answer = _answer(request, jobs)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(answers, answer)


def _limit(settings: dict[str, Any]) -> None:
    """Die with the parent; bound memory; write no files, dump no core."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != settings["parent"]:
            sys.exit("the parent was gone before the child had begun")
    memory = settings["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if settings["sealed"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.path[:] = settings["path"]


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
    if sys.platform != "linux":
        return False
    with open("/proc/self/statm", "rb") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    return used > resource.getrlimit(resource.RLIMIT_AS)[0] // 2


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
