"""Boxes that hold nothing: on them the attempts must succeed, or the table would prove nothing.

`NaiveBox` runs each program in one folder, under a supervisor of the same user that keeps its
verdict on a descriptor the program inherits. `WarmBox` has one interpreter execute all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Limits, Outcome, Sandbox, Session, Usage
from munro.rewards.sandbox.types import Files

PYTHON = os.path.realpath("/usr/bin/python3")
PATIENCE_S = 60
"""Past the wall seconds of a run, on a machine that is busy."""

NAIVE = """
import json, os, subprocess, sys
verdict = os.dup(1)
os.set_inheritable(verdict, True)
child = subprocess.Popen(sys.argv[1:], close_fds=False, stdin=subprocess.DEVNULL,
                         stdout=open("stdout", "wb"), stderr=open("stderr", "wb"))
_, status = os.wait3(0x40000000)[:2]  # __WALL: whichever child ends first
os.write(verdict, json.dumps({"status": os.waitstatus_to_exitcode(status)}).encode() + b"\\n")
"""
WARM = """
import os, sys
real_exit = os._exit
for line in sys.stdin:
    with open(line.strip()) as file:
        text = file.read()
    class Left(BaseException): pass
    def leave(status): raise Left
    os._exit = leave
    try:
        exec(compile(text, "main.py", "exec"), {"__name__": "__main__"})
    except Left:
        pass
    os.write(1, b"DONE\\n")
"""


class NaiveBox(Sandbox):
    """A plain subprocess, as some user."""

    def __init__(self, folder: Path, user: int | None, patience_s: float = PATIENCE_S) -> None:
        self.folder, self.user, self.limits = folder, user, Limits()
        self.patience_s = patience_s

    def run(
        self,
        command: Sequence[str],
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Outcome:
        for name, text in (files or {}).items():
            (self.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        start = time.monotonic()
        supervisor = subprocess.Popen(
            [PYTHON, "-I", "-S", "-c", NAIVE, *command],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            start_new_session=True,
        )
        assert supervisor.stdout is not None
        try:
            said, _ = supervisor.communicate(
                timeout=(limits or self.limits).wall_s + self.patience_s
            )
        except subprocess.TimeoutExpired:
            os.killpg(supervisor.pid, 9)
            supervisor.communicate()
            raise SandboxError("the supervisor is stuck") from None
        try:
            status = json.loads(said.splitlines()[0])["status"]
        except (IndexError, ValueError, KeyError, TypeError):
            raise SandboxError("the supervisor died") from None
        spent = Usage(cpu_s=0, wall_s=time.monotonic() - start, memory_mb=0)
        return Outcome(
            status=status,
            stdout=(self.folder / "stdout").read_bytes(),
            stderr=(self.folder / "stderr").read_bytes(),
            files={
                name: (self.folder / name).read_bytes()
                for name in want
                if (self.folder / name).is_file()
            },
            usage=spent,
        )

    def run_python(
        self,
        source: str,
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Outcome:
        command = [PYTHON, "-I", "main.py"]
        return self.run(command, files={"main.py": source}, want=want, limits=limits)

    def converse(
        self,
        command: Sequence[str],
        answer: Callable[[bytes], bytes | None],
        *,
        files: Files | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        raise NotImplementedError

    def session(
        self, *, files: Files | None = None, limits: Limits | None = None
    ) -> AbstractContextManager[Session]:
        raise NotImplementedError

    def has(self, program: str) -> bool:
        return True

    def close(self) -> None:
        return


class WarmBox(NaiveBox):
    """One interpreter for all runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, None)
        self.python = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WARM],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run_python(
        self,
        source: str,
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Outcome:
        path = self.folder / "main.py"
        path.write_text(source)
        assert self.python.stdin is not None
        assert self.python.stdout is not None
        self.python.stdin.write(f"{path}\n".encode())
        self.python.stdin.flush()
        said = b""
        while not said.endswith(b"DONE\n"):
            line = self.python.stdout.readline()
            if not line:
                raise SandboxError("the interpreter died")
            said += line
        return Outcome(status=7, stdout=said, usage=Usage(cpu_s=0, wall_s=0, memory_mb=0))

    def close(self) -> None:
        assert self.python.stdin is not None
        assert self.python.stdout is not None
        self.python.stdin.close()
        self.python.wait(9)
        self.python.stdout.close()
