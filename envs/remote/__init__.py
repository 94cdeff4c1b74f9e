"""Somebody else's environment, in an interpreter of its own.

    [[env]]
    path = "remote"
    [env.args]
    python = "/path/to/venv/bin/python"     # where the package is installed; Munro need not be
    side = "verifiers"                      # of munro/envs/remote_side, or a file of your own
    taskset = "my_taskset"                  # what else the side takes

        here                                       there
        Remote ──► Process ──► keeper.py ──► python main.py side.py
          ask  ── {"id", "do", "episode", ...} ─►    Side.tasks, start, reply, grade, close, save
               ◄─ {"id", "episode", ...} ────────

A process serves many episodes. When it dies, or is killed because a call hangs or an answer is none
of the protocol (`munro/envs/remote_side/main.py`), its episodes fail (`EnvironmentFailure`:
unscored, tried again) and the next one starts another process. Nothing of it outlives this process,
however that ends.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from munro.envs.remote.elsewhere import Elsewhere
from munro.envs.remote.pool import SideSpec
from munro.envs.thoughts import without_thoughts
from munro.envs.tool_use import parse_calls
from munro.envs.types import Message
from munro.rewards.plugins import nearest

SIDES = Path(__file__).parents[1] / "remote_side"
MAIN = SIDES / "main.py"
NOT_SIDES = ("__init__", "main", "serve", "isolated")


class Remote(Elsewhere):
    """Another package's environment, in its own interpreter behind a line protocol."""

    name = "remote"
    file_args = ("python", "side")

    def __init__(
        self,
        python: str,
        side: str,
        processes: int = 1,
        memory_mb: int = 0,
        open_s: float = 300.0,
        call_s: float = 3600.0,
        **args: Any,
    ) -> None:
        """
        Args:
            python: the interpreter in which the package is installed.
            side: name of a side of ours, or a file of your own that holds a class `Side`.
            processes: at most so many at once; episodes go to the freest one.
            memory_mb: MiB that a process may hold with all that it starts; 0 for no bound.
            open_s: seconds that it may take to be ready, and to list tasks.
            call_s: seconds of any other call, where the budget does not end it before.
            args: what the side takes.

        Raises:
            ValueError: one sentence that says what is wrong, and where it can what mends it.
        """
        file = side_file(side)
        command = (interpreter(python), "-u", "-B", str(MAIN), str(file))
        spec = SideSpec(
            name=f"side {file.stem}",
            command=command,
            args=args,
            memory_mb=memory_mb,
            open_s=open_s,
            call_s=call_s,
        )
        super().__init__(spec, processes)

    @classmethod
    def files(cls, args: Mapping[str, Any]) -> tuple[str, ...]:
        """Its own, and those that the side declares as `FILES`."""
        return (*cls.file_args, *_files_of(args.get("side")))

    def outgoing(self, message: Message) -> Message:
        """A side never reads calls out of a text: they are read here."""
        if message.is_sampled or message.tool_calls:
            return message
        return replace(message, tool_calls=tuple(parse_calls(without_thoughts(message.content))))


def interpreter(python: str) -> str:
    """The absolute name of an interpreter, its links kept: a venv's is one.

    Raises:
        ValueError: there is none.
    """
    expanded = os.path.expanduser(python)
    found = shutil.which(expanded)
    if found is None:
        what = "is no program that can be run" if Path(expanded).exists() else "does not exist"
        raise ValueError(
            f"python = {python!r} {what}: give the interpreter of the venv that holds the "
            "package, such as /path/to/venv/bin/python."
        )
    return os.path.abspath(found)


def side_file(side: str) -> Path:
    """The file of a side.

    Raises:
        ValueError: there is none.
    """
    if side.endswith(".py"):
        file = Path(side).expanduser().resolve()
        if not file.is_file():
            raise ValueError(f"side = {side!r}: there is no file {file}.")
        return file
    if side in side_names():
        return SIDES / f"{side}.py"
    hint = nearest(side, side_names())
    raise ValueError(f"side = {side!r}: there is none of that name. {hint}")


def side_names() -> list[str]:
    """Sides of ours."""
    return sorted(file.stem for file in SIDES.glob("*.py") if file.stem not in NOT_SIDES)


def _files_of(side: Any) -> tuple[str, ...]:
    """What a side says as `FILES`, read without running it."""
    try:
        tree = ast.parse(side_file(side).read_text())
    except (ValueError, OSError, SyntaxError, AttributeError):
        return ()  # said when it is made
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="FILES")], value=value):
                names = ast.literal_eval(value)
                return tuple(str(name) for name in names)
    return ()
