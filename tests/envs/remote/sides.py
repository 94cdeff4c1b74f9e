"""Sides for tests: the echo with one method that does something else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from munro.envs import Environment, Task
from munro.envs.check import Played, played
from munro.envs.remote import SIDES, Remote

HEAD = f"""
import importlib.util, json, os, sys, time
spec = importlib.util.spec_from_file_location("echo", {str(SIDES / "echo.py")!r})
echo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(echo)

class Side(echo.Side):
"""


def written(folder: Path, body: str, *, head: str = "") -> Path:
    """A side that is the echo, but for `body`; `head` stands above everything."""
    file = folder / "side.py"
    lines = "\n".join(f"    {line}" for line in body.strip("\n").split("\n"))
    file.write_text(f"{head}\n{HEAD}{lines}\n")
    return file


def raw(folder: Path, body: str) -> Path:
    """A side that answers whatever `body` prints: `answer(question)` returns a line of bytes."""
    file = folder / "side.py"
    file.write_text(
        "import json, os\n"
        f"{body}\n"
        "class Side:\n"
        "    def tasks(self, split): return [{'id': 'a', 'prompt': 'a'}]\n"
        "    def start(self, task): return {}\n"
        "    def close(self, episode): pass\n"
        "    def grade(self, episode, trajectory): return 1.0\n"
        "    def reply(self, episode, message):\n"
        "        spoil(episode, message)\n"
    )
    return file


def of(side: Path | str, **args: Any) -> Remote:
    """An environment of that side, in this test's own interpreter."""
    return Remote(python=sys.executable, side=str(side), **args)


def first(environment: Environment) -> Task:
    """Its first task."""
    return next(iter(environment.tasks("train")))


def play(environment: Environment, task: Task, *said: str) -> Played:
    """An episode of these turns."""
    return asyncio.run(played(environment, task, said))


def gone(pids: list[int], within_s: float = 5.0) -> bool:
    """Whether all of these processes end in time."""
    end = time.monotonic() + within_s
    while any(map(psutil.pid_exists, pids)):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def below(pid: int) -> list[int]:
    """Everything that runs below a process, and the process."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def kill_side(environment: Remote) -> None:
    """End the side of its one process, as the system does when memory is short."""
    (keeper,) = environment.pids()
    side = min(psutil.Process(keeper).children(), key=psutil.Process.create_time)
    os.kill(side.pid, signal.SIGKILL)
