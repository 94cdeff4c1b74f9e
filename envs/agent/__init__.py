"""A program that is an agent, in a box, at the tasks of any environment.

    [env]
    path = "agent"
    args = { command = ["mini", "-y", "-t", "{prompt}"], of = "swe", args = { path = "tasks" } }

The program finds the policy by OPENAI_BASE_URL and OPENAI_API_KEY, and has no other network. Where
the environment has boxes of its own (swe, harbor), it works in the task's box, and what it leaves
there is graded; elsewhere what it writes is the reply: the file that `answer` names, or its output.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from munro.envs.agent import relay
from munro.envs.agent_run import Address, AgentEpisode, AgentRun
from munro.envs.base import Environment, Episode, SingleTurn, as_grade, call
from munro.envs.loader import BadEnvironment, load
from munro.envs.shell import BOX, Box, Shell, held
from munro.envs.tool_use import Conversation
from munro.envs.types import Message, Task, Trajectory
from munro.rewards.errors import EpisodeError
from munro.rewards.sandbox import Found, Image, Limits, Outcome
from munro.rewards.types import Grade

PLACE = "/opt/address"
"""Where the box has the folder of the address's socket."""
HOLES = re.compile(r"\{(prompt|model|base_url|key)\}")
PACKAGES = "/opt/agent"
"""Where it has what the agent is made of."""
PORT = 8471
"""On the box's own loopback."""
BESIDE_S = 60.0
"""Seconds that a program may take to end once its time at the address is over."""
MOST_SAID = 300
"""Characters of a program's last words that are reported."""


class Room(Shell):
    """An empty box, for an agent whose task has none."""

    def tasks(self, split: str) -> Iterable[Task]:  # noqa: ARG002
        """None of its own."""
        return ()

    def image(self, task: Task) -> Image:  # noqa: ARG002
        """Nothing."""
        return Image()

    def grade(self, task: Task, reply: str, state: dict[str, Any]) -> bool:  # noqa: ARG002
        """Nothing is graded here."""
        return False


class Agent(Environment):
    """A program in a box that asks the policy at an address, at the tasks of any environment."""

    name = "agent"
    file_args: ClassVar[tuple[str, ...]] = ("packages", "args.path", "args.store", "args.test_path")

    def __init__(
        self,
        command: list[str],
        of: str = "qa",
        args: dict[str, Any] | None = None,
        packages: str = "",
        answer: str = "",
        environment: dict[str, str] | None = None,
        memory_mb: int = 2048,
        any_status: bool = False,
    ) -> None:
        """
        Args:
            command: the program and its arguments; {prompt}, {model}, {base_url} and {key} in them
                stand for the attempt's own.
            of: environment whose tasks these are, and which grades them.
            args: its arguments.
            packages: folder of `pip install --target` that Python in the box imports from. Run
                what it holds by `python3 -m`, for scripts in its `bin` name another Python.
            answer: file that holds the reply, where the environment has no boxes; what the program
                writes to its output unless given.
            environment: variables of the program, with the same holes.
            memory_mb: MiB that the program may use.
            any_status: an exit status other than 0 is an end like any other; else it says that the
                program broke, and the attempt is not scored.

        Raises:
            BadEnvironment: its tasks are none for an agent in a box.
            ValueError: there is no command.
        """
        words = [] if isinstance(command, str) else command
        if not words or not all(isinstance(word, str) and "\0" not in word for word in words):
            raise ValueError(
                f"command = {command!r:.60}: give a list, the program and its arguments"
            )
        self._command, self._answer, self._any_status = list(command), answer, any_status
        self._variables = dict(environment or {})
        self._inner = load(of, **(args or {}))
        self._shell = self._shell_of(self._inner, of)
        folder = Path(packages).expanduser() if packages else None
        if folder is not None and not folder.is_dir():
            raise ValueError(f"packages = {packages!r}: there is no such folder")
        self._packages = "" if folder is None else str(folder)
        if isinstance(self._inner, Shell):
            self.budget = self._inner.budget
        else:
            self.budget = AgentRun.budget.model_copy(update={"boxes": "auto"})
        self._memory_mb = memory_mb

    @staticmethod
    def _shell_of(inner: Environment, of: str) -> Shell:
        if isinstance(inner, Shell):
            if inner.backend != "namespaces":
                raise BadEnvironment(
                    f"agent: {of} has backend = {inner.backend!r}, where the address is not to be "
                    "had: leave it at 'namespaces'."
                )
            return inner
        if not isinstance(inner, SingleTurn):
            raise BadEnvironment(
                f"agent: the tasks of {of} are played turn by turn, with what it answers; a "
                "program in a box can play those that take one reply, or that have boxes of their "
                "own (swe, harbor)."
            )
        return Room()

    def tasks(self, split: str) -> Iterable[Task]:
        """The environment's own, without tools: the program brings those."""
        tasks = self._inner.tasks(split)
        if isinstance(tasks, Sequence) and not isinstance(tasks, list | tuple):
            return _Bare(tasks)
        return map(_bare, tasks) if not isinstance(tasks, Sequence) else [*map(_bare, tasks)]

    @property
    def endpoint(self) -> bool:
        """It does."""
        return True

    @property
    def box_mb(self) -> int:
        """Of the box, and what the program may need beside."""
        return self._shell.box_mb + self._memory_mb // 4

    def start(self, task: Task) -> Episode:
        """An episode of the environment's, played by the program."""
        return _Episode(self, task)

    async def opened(self, task: Task, address: Address) -> tuple[Episode, Box, dict[str, Any]]:
        """The task's own episode, a box in which the address is to be had, and the box's state."""
        shown = {str(Path(address.socket).parent): PLACE}
        self._shell.show(shown | ({self._packages: PACKAGES} if self._packages else {}))
        own: Episode = await call(self._inner.start, task)
        if isinstance(own, Conversation):
            state: dict[str, Any] = await own.opened()
        else:
            state = await call(self._shell.setup, task)
        return own, state[BOX], state

    async def closed(self, own: Episode, state: dict[str, Any]) -> None:
        """Both come to their end."""
        if not isinstance(own, Conversation):
            await call(self._shell.teardown, state)
        await call(own.close)

    def work(self, task: Task, address: Address, box: Box) -> tuple[Outcome, Found | None]:
        """Run the program to its end; with it the file that it leaves its answer in."""
        limits = self.limits
        words = ["python3", "-I", "-c", inspect.getsource(relay), self._setting(task, address)]
        with held(box) as session:
            # as any command of the task's: where it works, and with its variables
            command = [*box.shell, f"exec {shlex.join(words)}"]
            done = session.run(command, limits=limits, clip=True)
            found = (
                session.look(self._answer, most_bytes=limits.output_bytes) if self._answer else None
            )
        return done, found

    @property
    def limits(self) -> Limits:
        """Of the program: as long as its attempt may last, and the box's own for the rest."""
        budget, own = self.budget, self._shell.limits
        wall_s = (budget.start_s or 0) + (budget.wall_s or 86_400.0) + BESIDE_S
        memory_mb = max(own.memory_mb, self._memory_mb)
        return replace(own, wall_s=wall_s, cpu_s=wall_s, memory_mb=memory_mb, open_files=1024)

    def _setting(self, task: Task, address: Address) -> str:
        """What the relay is told."""
        prompt = "\n\n".join(message.content for message in task.messages)
        inside = replace(address, base_url=f"http://127.0.0.1:{PORT}/v1")
        values = {
            "prompt": prompt,
            "model": inside.model,
            "base_url": inside.base_url,
            "key": inside.key,
        }
        return json.dumps(
            {
                "port": PORT,
                "socket": f"{PLACE}/{Path(address.socket).name}",
                "command": [_filled(word, values) for word in self._command],
                "environment": {
                    **({"PYTHONPATH": PACKAGES} if self._packages else {}),
                    **inside.environment,
                    **{key: _filled(word, values) for key, word in self._variables.items()},
                },
            }
        )

    def judge_end(self, done: Outcome) -> None:
        """Raise unless the program came to an end of its own.

        Raises:
            RuntimeError: it broke, or a limit ended it; the attempt's own limits go before.
        """
        if done.limit is None and (done.status == 0 or self._any_status):
            return
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        last = f": {said[-1][:MOST_SAID]}" if said else ""
        why = (
            f"was ended by its limit of {done.limit}" if done.limit else f"ended with {done.status}"
        )
        raise RuntimeError(f"{self._command[0]} {why}{last}")


class _Episode(AgentEpisode):
    def __init__(self, environment: Agent, task: Task) -> None:
        self._environment, self._task = environment, task
        self._opened: tuple[Episode, Box, dict[str, Any]] | None = None
        self._reply: str | None = None

    async def run(self, address: Address) -> None:
        environment = self._environment
        self._opened = own, box, _ = await environment.opened(self._task, address)
        work = asyncio.ensure_future(call(environment.work, self._task, address, box))
        try:
            done, found = await asyncio.shield(work)
        except asyncio.CancelledError:
            box.session.abort()
            with suppress(EpisodeError, TimeoutError):
                await asyncio.wait_for(work, BESIDE_S)
            raise
        if not isinstance(own, Conversation):
            said = done.stdout if found is None else found.contents
            self._reply = said.decode(errors="replace")
        environment.judge_end(done)

    async def grade(self, trajectory: Trajectory) -> Grade:
        assert self._opened is not None, "graded before it was run"
        own = self._opened[0]
        if self._reply is not None:
            answer = Message(role="assistant", content=self._reply)
            said = (*trajectory.messages, answer)
            trajectory = replace(trajectory, reply=self._reply, messages=said)
        return as_grade(await call(own.grade, trajectory))

    async def close(self) -> None:
        if self._opened is not None:
            own, _, state = self._opened
            await self._environment.closed(own, state)


class _Bare(Sequence[Task]):
    """Tasks that are made as they are drawn."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, place: Any) -> Any:
        found = self._tasks[place]
        return _bare(found) if isinstance(found, Task) else [*map(_bare, found)]


def _bare(task: Task) -> Task:
    return replace(task, tools=()) if task.tools else task


def _filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its holes filled, each once: what fills one is not read for holes."""
    return HOLES.sub(lambda hole: values[hole[1]], text)
