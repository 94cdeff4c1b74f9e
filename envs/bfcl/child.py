"""The mock interfaces in killable processes: arguments of a policy may make them endless or huge.

takes    a scene and all calls so far      waits: while every child is busy
makes    the answers to the last ones      waits: at most PATIENCE_S, and once more for each of
                                                  them where that was not enough
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from munro.envs.bfcl.apis import Turns
from munro.rewards.errors import EnvironmentFailure
from munro.rewards.workers import Outcome, Status, WorkerPool

APIS = f"{__package__}.apis"
PATIENCE_S = 5.0
"""CPU seconds of one job; by the clock it may take ten times as long, where others compute too."""
MEMORY_MB = 2048
MOST_CHILDREN = 8
MOST_BYTES = 8 << 20
"""Of a job: what a policy has written in an attempt, and the task."""

_lock = threading.Lock()
_pools: dict[str, WorkerPool] = {}


class Interfaces:
    """The mock interfaces of one package."""

    def __init__(self, home: str) -> None:
        """
        Args:
            home: the folder that the package `bfcl_eval` lies in.
        """
        self._home = home

    def answers(
        self, scene: Mapping[str, Any], turns: Turns, calls: Sequence[Sequence[Any]]
    ) -> list[tuple[str, str, bool]]:
        """Carry calls out, in order.

        Args:
            scene: of the task.
            turns: what has been carried out, by turns of the user; the calls belong to the last.
            calls: (name, arguments) of the new ones.

        Returns:
            For each its text, why it failed (or ""), and whether it has been carried out: one that
            did not end has changed nothing.

        Raises:
            EnvironmentFailure: the machine failed, not the call.
        """
        outcome = self._run("answers", scene, [*turns[:-1], [*turns[-1], *calls]], len(calls))
        if outcome.status is Status.DONE:
            return [(text, error, True) for text, error in outcome.value]
        if len(calls) > 1:
            done, found = [*turns[-1]], []
            for each in calls:
                (one,) = self.answers(scene, [*turns[:-1], done], [each])
                found.append(one)
                done += [each] if one[2] else []
            return found
        name = calls[0][0]
        error = f"{name} was given up: {_why(outcome)}"
        return [(f"Error: {error}", error, False)]

    def judged(self, scene: Mapping[str, Any], gold: Turns, turns: Turns) -> Any:
        """An attempt beside gold; see `apis.judged`.

        Returns:
            What that says; in place of it, a text that says why, where the attempt's calls cannot
            be made once more in one go: it was nearly too long at each of them.

        Raises:
            EnvironmentFailure: the machine failed.
        """
        outcome = self._run("judged", scene, gold, turns)
        return outcome.value if outcome.status is Status.DONE else _why(outcome)

    def _run(self, function: str, *args: Any) -> Outcome:
        outcome = self._pool().run(f"{APIS}:{function}", *args)
        if outcome.status is Status.DIED or outcome.was_idle:
            raise EnvironmentFailure(f"bfcl: {outcome.detail}")
        if outcome.status is Status.RAISED:
            raise EnvironmentFailure(f"bfcl: the mock interfaces broke: {outcome.detail}")
        return outcome

    def _pool(self) -> WorkerPool:
        """Started at the first use, and shared by all environments of this process."""
        with _lock:
            if self._home not in _pools:
                _pools[self._home] = WorkerPool(
                    size=min(MOST_CHILDREN, os.cpu_count() or 1),
                    timeout_s=10 * PATIENCE_S,
                    cpu_s=PATIENCE_S,
                    memory_mb=MEMORY_MB,
                    max_input_bytes=MOST_BYTES,
                    preload=[[f"{APIS}:preload", self._home]],
                )
            return _pools[self._home]


def _why(outcome: Outcome) -> str:
    if outcome.status is Status.OUT_OF_MEMORY:
        return "it needs too much memory"
    return "it is too long" if outcome.status is Status.TOO_LARGE else "it takes too long"
