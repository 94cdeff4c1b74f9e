"""The last steps of our own code in a process: its limits, its three descriptors, then the program.

A command is executed. Python source runs in this very process, a fork of the template, as
`python3 -I -X int_max_str_digits=0 main.py` would run it.
"""

from __future__ import annotations

import atexit
import builtins
import fcntl
import gc
import math
import os
import resource
import signal
import socket
import sys
import threading
import types
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn, TextIO

from munro.rewards.sandbox.inside import files, syscalls, wire

MIB = 1 << 20
STACK_BYTES = 8 * MIB
LINK = 3
NOT_FOUND, NOT_EXECUTABLE = 127, 126


def wait(link: socket.socket, groups: Sequence[int]) -> NoReturn:
    """In a fresh child: enter the control groups, then be the program that comes over `link`.

    The link closes once nothing of ours can fail any more. Before that, it takes the reason.
    """
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which the keeper ignores
        for group in groups:
            os.write(group, b"0")
        request, _, descriptors = wire.receive(link)
        _take_descriptors([*descriptors, link.detach()])
        link = socket.socket(fileno=LINK)
        os.chdir(files.WORK)
        _limit(request["limits"], is_counted=bool(groups))
        # our own mark of secrecy is inherited, and would take /proc/self from the program
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
    except wire.Closed:
        os._exit(1)
    except OSError as failure:
        with suppress(wire.Closed):
            wire.send(link, {"fatal": str(failure)})
        os._exit(1)
    link.close()
    if request["python"]:
        os._exit(_run_python(is_buffered=not request["talks"]))
    _execute([wire.unpack(part) for part in request["command"]])


def _take_descriptors(wanted: Sequence[int]) -> None:
    """Have `wanted` as descriptors 0 to LINK, of which a program inherits the first three."""
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, 64) for each in wanted]
    for place, descriptor in enumerate(high):
        os.dup2(descriptor, place, inheritable=place < LINK)
    os.closerange(LINK + 1, 1 << 16)


def _limit(limits: dict[str, Any], *, is_counted: bool) -> None:
    memory = limits["memory_mb"] * MIB
    cpu = max(1, math.ceil(limits["cpu_s"]))
    wanted = {
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_NOFILE: (limits["open_files"], limits["open_files"]),
        # process 1 counts too; and one over, so that being over can be seen
        resource.RLIMIT_NPROC: (limits["processes"] + 2, limits["processes"] + 2),
        resource.RLIMIT_STACK: (min(STACK_BYTES, memory), memory),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_MEMLOCK: (1 << 16, 1 << 16),
        resource.RLIMIT_MSGQUEUE: (0, 0),
    }
    if not is_counted:
        wanted[resource.RLIMIT_DATA] = (memory, memory)
    for kind, (soft, hard) in wanted.items():
        _, most = resource.getrlimit(kind)
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(kind, (soft, hard))


def _execute(command: list[bytes]) -> NoReturn:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and a child would too
    try:
        os.execvp(command[0], command)
    except OSError as failure:
        os.write(2, command[0] + b": " + os.strerror(failure.errno or 0).encode() + b"\n")
        status = NOT_FOUND if isinstance(failure, FileNotFoundError) else NOT_EXECUTABLE
        os._exit(status)


def _run_python(*, is_buffered: bool) -> int:
    """Run main.py of the working directory to its end; returns its exit status."""
    _new_streams(is_buffered=is_buffered)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in sys.modules if name.partition(".")[0] == "munro"]:
        del sys.modules[name]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    path = f"{files.WORK}/main.py"
    main.__dict__.update(__builtins__=builtins, __file__=path, __cached__=None)
    sys.argv[:] = ["main.py"]
    sys.set_int_max_str_digits(0)  # a time limit of its own is what a run has
    status = 0
    try:
        with open(path, "rb") as file:
            source = file.read()
        exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)
    except SystemExit as leave:
        status = _exit_status(leave.code)
    except BaseException as failure:  # noqa: BLE001  whatever a program raises, its status tells
        if failure.__traceback__ is not None:
            failure.__traceback__ = failure.__traceback__.tb_next  # without our own frame
        _show(failure)
        status = 128 + signal.SIGINT if isinstance(failure, KeyboardInterrupt) else 1
    return _finish(main, status)


def _new_streams(*, is_buffered: bool) -> None:
    """sys.stdin, sys.stdout and sys.stderr, as a new interpreter would make them."""
    said, heard = sys.__stdout__, sys.__stdin__
    assert said is not None
    assert heard is not None

    def stream(descriptor: int, mode: str, like: TextIO, errors: str | None = None) -> Any:
        return open(
            descriptor,
            mode,
            encoding=like.encoding,
            errors=errors or like.errors,
            newline="\n",
            closefd=False,
        )

    streams = {
        "stdin": stream(0, "r", heard),
        "stdout": stream(1, "w", said),
        "stderr": stream(2, "w", said, "backslashreplace"),
    }
    streams["stdout"].reconfigure(line_buffering=not is_buffered)
    streams["stderr"].reconfigure(line_buffering=True)
    for name, each in streams.items():
        setattr(sys, name, each)
        setattr(sys, f"__{name}__", each)


def _show(failure: BaseException) -> None:
    """Its traceback on stderr, or whatever the program has put in the place of that."""
    try:
        sys.excepthook(type(failure), failure, failure.__traceback__)
    except BaseException:  # noqa: BLE001  its own hook: the interpreter goes on to end, too
        sys.__excepthook__(type(failure), failure, failure.__traceback__)


def _exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _finish(main: types.ModuleType, status: int) -> int:
    """What an interpreter does in the end: threads, exit handlers, open files, buffers."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        main.__dict__.clear()
        gc.collect()
        sys.stdout.flush()
    except BrokenPipeError:
        status = status or 120
    except SystemExit as leave:
        status = _exit_status(leave.code)
    except BaseException as failure:  # noqa: BLE001  whatever a program raises, its status tells
        _show(failure)
        status = status or 1
    return status
