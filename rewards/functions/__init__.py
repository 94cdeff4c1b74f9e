"""Reward functions that were written for another trainer, called as that trainer calls them.

    rewards.py:accuracy      a function in a file of the user's; `:accuracy` may be left out where
                             it is the only one
    package.module:accuracy  anything importable

The function is the user's own code, so it may open sockets and files; what it is given a model
wrote, so it runs in killable child processes with limits on time and memory. Async functions too.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from munro.rewards.errors import GraderError
from munro.rewards.plugins import BadPlugin, Registry, resolve
from munro.rewards.workers import Status, WorkerPool

CALL = "munro.rewards.functions:call"
LOOK = "munro.rewards.functions:look"
REST = "**"
"""Stands for all other names in the parameters of a function."""
FUNCTIONS = Registry(
    what="reward function",
    group="munro.reward_functions",
    home="munro.rewards.functions.ours",  # we bring none
    fits=inspect.isroutine,
)
ENDINGS = {
    Status.TIMED_OUT: "ran out of time (timeout_s)",
    Status.OUT_OF_MEMORY: "ran out of memory (memory_mb)",
    Status.DIED: "killed its process twice",
    Status.RAISED: "raised",
    Status.TOO_LARGE: "was not called",
}


class RewardFunction:
    """One function, in processes of its own. Safe to use from many threads; close it."""

    def __init__(
        self,
        path: str,
        *,
        needs: Sequence[str] = (),
        env: Sequence[str] = (),
        workers: int = 2,
        timeout_s: float = 60.0,
        memory_mb: int = 8192,
    ) -> None:
        """Load it once, in a child.

        Args:
            path: of the function.
            needs: parameters that it must have.
            env: names of environment variables that it may read; a child has none otherwise.
            workers: calls at the same moment.
            timeout_s: wall seconds of one.
            memory_mb: address space of a child, MiB; 0 for no bound.

        Raises:
            ValueError: there is no such function, or it cannot be called so; one sentence.
            GraderError: no child can be started.
        """
        self.path = resolve(path)
        self._label = path.rpartition("/")[2]
        self._needs = tuple(needs)
        if missing := [name for name in env if name not in os.environ]:
            raise ValueError(f"env: there is no environment variable {missing[0]!r}.")
        self._env = {name: os.environ[name] for name in env}
        self._pool = WorkerPool(
            size=workers,
            timeout_s=timeout_s,
            memory_mb=memory_mb,
            sealed=False,
            max_input_bytes=32 << 20,
        )
        try:
            self.takes = self._look()
        except BaseException:
            self._pool.close()
            raise

    def _look(self) -> frozenset[str]:
        """Names of its parameters; raises ValueError where it is not as it must be."""
        outcome = self._pool.run(LOOK, self.path, list(self._needs), self._env)
        if outcome.status is not Status.DONE:
            raise ValueError(f"{self._label} {ENDINGS[outcome.status]}: {outcome.detail}")
        if error := outcome.value["error"]:
            raise ValueError(error)
        return frozenset(outcome.value["takes"])

    def accepts(self, name: str) -> bool:
        """Whether a keyword argument of that name may be passed."""
        return name in self.takes or REST in self.takes

    def call(self, given: Mapping[str, Any], unheard: Sequence[str] = ()) -> Any:
        """What it returns for these keyword arguments, as JSON can say it.

        Args:
            given: by name.
            unheard: parameters that are functions of its trainer's to tell things to, which go
                nowhere.

        Raises:
            GraderError: it raised, ran out of time or memory, or died.
        """
        outcome = self._pool.run(CALL, self.path, dict(given), list(unheard), self._env)
        if outcome.status is not Status.DONE:
            raise GraderError(f"{self._label} {ENDINGS[outcome.status]}: {outcome.detail}")
        return outcome.value

    def number(self, value: Any, what: str = "") -> float:
        """A finite number out of what it returned.

        Raises:
            GraderError: it is none.
        """
        where = f"{self._label} returned {what}"
        if isinstance(value, bool | int | float):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number):
                return number
        shown = value.get("text", "") if is_marked(value) else repr(value)
        raise GraderError(f"{where}{shown:.60}, which is no finite number")

    def close(self) -> None:
        """End its processes. Safe to call twice."""
        self._pool.close()


def is_marked(value: Any) -> bool:
    """Whether it stands for something that JSON cannot say."""
    return isinstance(value, dict) and value.get("munro") == "not JSON"


# in a child


def look(path: str, needs: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    """What parameters a function takes, or why it cannot be used. Runs in a child."""
    os.environ.update(env)
    try:
        function = FUNCTIONS.find(path)
        parameters = inspect.signature(function).parameters.values()
    except (BadPlugin, ValueError, TypeError) as error:
        return {"error": str(error), "takes": []}
    takes = [one.name for one in parameters if one.kind is not one.VAR_POSITIONAL]
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        takes.append(REST)
    missing = [name for name in needs if name not in takes and REST not in takes]
    if missing:
        return {
            "error": f"{path}: {function.__name__} takes no {missing[0]!r}: it is called with "
            f"{', '.join(needs)}.",
            "takes": takes,
        }
    return {"error": "", "takes": takes}


def call(
    path: str, given: Mapping[str, Any], unheard: Sequence[str], env: Mapping[str, str]
) -> Any:
    """Call a function, sync or async. Runs in a child."""
    os.environ.update(env)
    function = _found.get(path)
    if function is None:
        function = _found[path] = FUNCTIONS.find(path)
    result = function(**given, **dict.fromkeys(unheard, _say_nothing))
    if inspect.isawaitable(result):
        result = asyncio.run(_awaited(result))
    return _plain(result)


_found: dict[str, Any] = {}
"""Functions by path, loaded once a child."""


def _say_nothing(*args: Any, **kwargs: Any) -> None:
    """What stands for a trainer's log."""


async def _awaited(result: Any) -> Any:
    return await result


def _plain(value: Any, depth: int = 0) -> Any:
    """The same as JSON can say it; what it cannot is marked, and refused where it counts."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if depth > 8:
        return {"munro": "not JSON", "text": "something nested too deep"}
    if isinstance(value, Mapping):
        return {str(key): _plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, depth + 1) for one in value]
    if hasattr(value, "tolist"):  # arrays and tensors, and their numbers
        return _plain(value.tolist(), depth + 1)
    return {"munro": "not JSON", "text": f"{value!r:.80} ({type(value).__name__})"}
