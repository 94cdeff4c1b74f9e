"""The processes of one environment: episodes go to the freest one, a dead one is replaced."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from munro.envs.budget import Budget
from munro.envs.remote.process import Process, Refused
from munro.envs.remote.wire import BadAnswer, budget_of, of, tools_of
from munro.rewards.errors import EnvironmentFailure

NOT_THEIRS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""Variables of our interpreter that would mislead another one."""
MOST_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SideSpec:
    """What is run, and how."""

    name: str
    """For messages."""
    command: tuple[str, ...]
    args: Mapping[str, Any]
    """Of the class in its file."""
    memory_mb: int = 0
    """MiB that a process may hold with all that it starts; 0 for no bound."""
    open_s: float = 300.0
    """Seconds that it may take to be ready, and to list a page of tasks."""
    call_s: float = 3600.0
    """Seconds of any other question, where nobody gives it up before."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables beside our own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a side says of itself."""

    name: str
    at_once: int
    """Questions that it takes at the same moment."""
    restores: bool
    compares: bool
    """It compares attempts with each other."""
    budget: Budget
    tools: tuple[Mapping[str, Any], ...]
    """Of tasks that bring none."""
    more: Mapping[str, Any]
    """Whatever else its kind of side says."""
    python: str
    """Version of its interpreter."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Hello:
        """Out of the answer to "open".

        Raises:
            BadAnswer: something in it is not what it must be.
        """
        at_once = of(given.get("at_once", 1), int, "at_once")
        return cls(
            name=of(given.get("name"), str, "name"),
            at_once=min(max(at_once, 1), MOST_AT_ONCE),
            restores=of(given.get("restores", False), bool, "restores"),
            compares=of(given.get("compares", False), bool, "compares"),
            budget=budget_of(given.get("budget") or {}, "budget"),
            tools=tools_of(given.get("tools") or [], "tools"),
            more=of(given.get("more") or {}, dict, "more"),
            python=of(given.get("python", ""), str, "python"),
        )


class Pool:
    """At most `size` processes of a side. Safe to use from many threads."""

    def __init__(self, spec: SideSpec, size: int) -> None:
        self.spec = spec
        self.num_started = 0
        """Processes so far."""
        self._slots: list[Process | None] = [None] * size
        self._locks = [threading.Lock() for _ in range(size)]
        self._lock = threading.Lock()
        self._wanted = [0] * size
        self._is_closed = False

    def hello(self) -> Hello:
        """Start one, and hear what it is.

        Raises:
            ValueError: it refuses, or is nothing that can be used; one sentence.
        """
        try:
            return Hello.of(self._ready(0)[1])
        except (Refused, EnvironmentFailure) as error:
            raise ValueError(str(error)) from error

    def take(self) -> tuple[int, Process]:
        """The freest process for an episode, started where it is not there; give it back by its
        number. Blocks as long as it takes to start.

        Raises:
            EnvironmentFailure: it cannot be had.
        """
        with self._lock:
            number = self._wanted.index(min(self._wanted))
            self._wanted[number] += 1
        try:
            return number, self._ready(number)[0]
        except BaseException as error:
            self.give_back(number)
            if isinstance(error, Refused):
                raise EnvironmentFailure(f"{self.spec.name}: {error}") from error
            raise

    def give_back(self, number: int) -> None:
        """An episode is over."""
        with self._lock:
            self._wanted[number] -= 1

    def first(self) -> Process:
        """A process for questions of no episode. Blocks as `take` does, and raises as it does."""
        try:
            return self._ready(0)[0]
        except Refused as error:
            raise EnvironmentFailure(f"{self.spec.name}: {error}") from error

    def pids(self) -> list[int]:
        """Of the keepers of those that are alive."""
        return [one.pid for one in self._slots if one is not None and one.is_alive]

    def close(self) -> None:
        """End them all. Safe to call twice."""
        self._is_closed = True
        for process in [*self._slots]:
            if process is not None:
                process.close()

    def _ready(self, number: int) -> tuple[Process, Mapping[str, Any]]:
        with self._locks[number]:
            process = self._slots[number]
            if process is not None and process.is_alive:
                return process, process.said
            if self._is_closed:
                raise EnvironmentFailure(f"{self.spec.name} was closed")
            self._slots[number] = None
            process = self._opened()
            self._slots[number] = process
            return process, process.said

    def _opened(self) -> Process:
        spec = self.spec
        env = {key: value for key, value in os.environ.items() if key not in NOT_THEIRS}
        process = Process(spec.name, spec.command, {**env, **spec.env}, spec.memory_mb)
        self.num_started += 1
        try:
            process.said = process.ask("open", spec.open_s, args=dict(spec.args)).answer.result()
            process.at_once = Hello.of(process.said).at_once
        except BadAnswer as wrong:
            process.close()
            raise EnvironmentFailure(f"{spec.name}: {wrong}") from wrong
        except BaseException:
            process.close()
            raise
        return process
