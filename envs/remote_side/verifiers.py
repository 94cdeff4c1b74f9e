"""The side for verifiers 0.4: task sets of its v1, their prompts, tools and rewards.

    [[env]]
    path = "remote"
    [env.args]
    python = "/path/to/venv/bin/python"   # python -m venv; pip install 'verifiers>=0.4,<0.5'
    side = "verifiers"
    taskset = "my_taskset.py"             # or the name of an installed one
    config = { num = 100 }                # of its TasksetConfig
    gold = "my_gold.py:gold"              # optional: what proves that a right answer passes

A task set is loaded by verifiers itself; a turn of the policy is committed to a `Trace` of its own,
tools run in this process, and `Task.score` pays. What needs a container, a user, an environment
class of its own or rewritten requests is refused in one line.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

INSTALL = "'verifiers>=0.4,<0.5'"
FILES = ("taskset",)


class Side:
    """One task set."""

    name = "verifiers"
    at_once = 64

    def __init__(
        self,
        taskset: str,
        config: Mapping[str, Any] | None = None,
        test_config: Mapping[str, Any] | None = None,
        test_share: float = 0.1,
        pass_at: float = 1.0,
        gold: str = "",
    ) -> None:
        """
        Args:
            taskset: an installed task set's id, or a file that exports one in `__all__`.
            config: of its TasksetConfig.
            test_config: the same for the tasks that are held out.
            test_share: without it this share of the tasks is held out, by their keys.
            pass_at: an attempt passes from this reward on.
            gold: "file.py:function", which takes a task's data and returns what a perfect policy
                says, a text or a message a turn (with tool_calls [{name, arguments}]).
        """
        if not 0 <= test_share < 1:
            raise ValueError(f"test_share = {test_share}: give a share in [0, 1)")
        self._vf = _package()
        self._part = importlib.import_module("verifiers_attempt")  # of munro/envs/remote_side/parts
        # attempts' folders: in a place that goes with this process, also when it is killed
        self._vf.subprocess.CACHE_DIR = Path(tempfile.gettempdir())
        self._id = _taskset_id(taskset)
        self._pass_at, self._test_share = pass_at, test_share
        self._gold = _function(gold) if gold else None
        train = self._taskset(config or {})
        held_out = train if test_config is None else self._taskset(test_config)
        self._tasks = {"train": _Loaded(train), "test": _Loaded(held_out)}
        self._is_parted = test_config is None
        self._check(self._tasks["train"].task(0))
        self._shared_type, self._shared_config = type(train), train.config
        self._tools: list[dict[str, Any]] = []

    async def begin(self) -> None:
        """The tools that its tasks show."""
        task_type = type(self._tasks["train"].task(0))
        for toolset in self._toolsets(task_type, self._tasks["train"].task(0).config):
            self._tools += (await self._part.Served(self._vf, toolset).listed())[0]
        names = [tool["function"]["name"] for tool in self._tools]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two of its toolsets have a tool {twice[0]!r}")

    def tasks(self, split: str) -> Any:
        """The tasks of one side, each by its place in the task set."""
        loaded = self._tasks[split]
        places = loaded.places(self._keeper(split))
        if loaded.is_endless:
            return (self._data(split, place) for place in places)
        return [self._data(split, place) for place in places]

    async def start(self, task: dict[str, Any]) -> Any:
        """An attempt with a trace, a folder and tools of its own."""
        place, key = task["payload"]["place"], task["payload"]["key"]
        theirs = self._tasks[task["payload"]["split"]].task(place)
        if theirs.key != key:
            raise RuntimeError(f"task {place} is another one than before: load() must be the same")
        episode = self._part.Attempt(self._vf, theirs, self._toolsets(type(theirs), theirs.config))
        await episode.begin()
        return episode

    async def reply(self, episode: Any, message: dict[str, Any]) -> Any:
        """Carry the calls out; a turn without one ends it, as does a @stop of the task."""
        return await episode.reply(message)

    async def grade(self, episode: Any, trajectory: dict[str, Any]) -> dict[str, Any]:
        """What `Task.score` pays."""
        grade: dict[str, Any] = await episode.grade(trajectory, self._pass_at)
        return grade

    async def close(self, episode: Any) -> None:
        """Tools and folder go."""
        await episode.close()

    async def gold(self, task: dict[str, Any]) -> list[Any] | None:
        """What the file that was named says."""
        if self._gold is None:
            return None
        theirs = self._tasks[task["payload"]["split"]].task(task["payload"]["place"])
        said = self._gold(theirs.data)
        said = await said if inspect.isawaitable(said) else said
        return [said] if isinstance(said, str) else list(said)

    def _taskset(self, config: Mapping[str, Any]) -> Any:
        loaders = self._vf.loaders
        try:
            made = loaders.taskset_config_type(self._id).model_validate({**config, "id": self._id})
            kind = loaders.environment_class(self._id)
            taskset = loaders.load_taskset(made)
        except (ImportError, AttributeError, TypeError) as error:
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            raise ValueError(f"taskset {self._id!r}: {error}{cause}") from error
        if kind is not self._vf.v1.SingleAgentEnv:
            raise ValueError(
                f"taskset {self._id!r} brings an environment of its own ({kind.__name__}), which "
                "verifiers alone can play"
            )
        return taskset

    def _check(self, task: Any) -> None:
        """Refuse what would be played otherwise than its author meant."""
        kind = type(task)
        if kind.NEEDS_CONTAINER:
            raise ValueError(f"{kind.__name__} needs a container: play it in verifiers itself")
        if self._vf.decorators.discover_decorated(task, "intercept"):
            raise ValueError(f"{kind.__name__} rewrites requests (@intercept)")

    def _toolsets(self, task_type: Any, config: Any) -> list[Any]:
        found = [
            *self._shared_type.toolsets(self._shared_config),
            *task_type.toolsets(config),
        ]
        for toolset in found:
            if toolset.config.url:
                raise ValueError(f"the toolset {toolset.server_name!r} is a server at an address")
            if toolset.config.runtime.type != "subprocess":
                raise ValueError(f"the toolset {toolset.server_name!r} needs a container")
        return found

    def _keeper(self, split: str) -> Callable[[str], bool]:
        if not self._is_parted:
            return lambda key: True  # noqa: ARG005 - all of them
        bound = int(self._test_share * 2**32)
        is_test = split == "test"
        return lambda key: (int(sha256(key.encode()).hexdigest()[:8], 16) < bound) == is_test

    def _data(self, split: str, place: int) -> dict[str, Any]:
        task = self._tasks[split].task(place)
        data = task.data
        name = data.id or data.name or str(place)
        if data.image:
            raise ValueError(f"task {name!r} needs a container ({data.image})")
        if data.prompt is None:
            raise ValueError(f"task {name!r} has no prompt: a user would have to open it")
        messages = [
            {"role": message.role, "content": _text(self._vf, message, name)}
            for message in self._part.opening(self._vf, data)
        ]
        return {
            "id": f"{place}/{name}",
            "messages": messages,
            "tools": self._tools,
            "payload": {"split": split, "place": place, "key": task.key},
            "budget": _budget(data.timeout),
        }


class _Loaded:
    """A task set, read as far as is needed."""

    def __init__(self, taskset: Any) -> None:
        self.is_endless = not taskset.bounded
        self._stream = iter(taskset)
        self._read: list[Any] = []
        self._lock = threading.Lock()  # tasks are listed in a thread, episodes start in the loop

    def task(self, place: int) -> Any:
        with self._lock:
            while len(self._read) <= place:
                task = next(self._stream, None)
                if task is None:
                    raise ValueError(f"there is no task {place}")
                self._read.append(task)
            return self._read[place]

    def places(self, is_ours: Callable[[str], bool]) -> Iterator[int]:
        place = 0
        while True:
            try:
                task = self.task(place)
            except ValueError:
                return
            if is_ours(task.key):
                yield place
            place += 1


def _text(vf: Any, message: Any, name: str) -> str:
    if isinstance(message.content, list) and any(p.type != "text" for p in message.content):
        raise ValueError(f"task {name!r} shows images, which are not played")
    return str(vf.types.content_text(message.content))


def _budget(timeout: Any) -> dict[str, float] | None:
    """A task's own limits, in our words."""
    grade = None
    if timeout.finalize is not None and timeout.scoring is not None:
        grade = timeout.finalize + timeout.scoring + 10.0
    said = {"start_s": timeout.setup, "wall_s": timeout.agent, "grade_s": grade}
    return {name: value for name, value in said.items() if value} or None


def _taskset_id(taskset: str) -> str:
    """A task set's import name; a file's folder joins the path."""
    if not taskset.endswith(".py"):
        return taskset
    file = os.path.abspath(taskset)
    if not os.path.isfile(file):
        raise ValueError(f"taskset = {taskset!r}: there is no such file")
    sys.path.insert(0, os.path.dirname(file))
    return os.path.splitext(os.path.basename(file))[0]


def _function(path: str) -> Callable[[Any], Any]:
    place, _, name = path.rpartition(":")
    if not place.endswith(".py") or not os.path.isfile(place):
        raise ValueError(f"gold = {path!r}: give file.py:function")
    spec = importlib.util.spec_from_file_location("munro_gold", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        raise ValueError(f"gold = {path!r}: there is no function {name!r}")
    function: Callable[[Any], Any] = found
    return function


def _package() -> Any:
    """The modules of verifiers that are used here.

    Raises:
        ImportError: it is not there, or not of a version that has them.
    """
    version = importlib.import_module("verifiers").__version__
    if not str(version).startswith("0.4."):
        raise ImportError(f"verifiers is {version}, and this side is for 0.4")
    parts = ("decorators", "loaders")
    server = importlib.import_module("mcp.server.mcpserver")
    errors = importlib.import_module("mcp.server.mcpserver.exceptions")
    return SimpleNamespace(
        v1=importlib.import_module("verifiers.v1"),
        types=importlib.import_module("verifiers.v1.types"),
        graph=importlib.import_module("verifiers.v1.graph"),
        state=importlib.import_module("verifiers.v1.state"),
        session=importlib.import_module("verifiers.v1.session"),
        runtimes=importlib.import_module("verifiers.v1.runtimes"),
        subprocess=importlib.import_module("verifiers.v1.runtimes.subprocess"),
        mcp=server,
        mcp_errors=(errors.MCPServerError,),
        **{part: importlib.import_module(f"verifiers.v1.utils.{part}") for part in parts},
    )
