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

import asyncio
import importlib
import importlib.util
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

INSTALL = "'verifiers>=0.4,<0.5'"
FILES = ("taskset",)
ENDINGS = {
    "truncated_turns": "max_turns",
    "truncated_tokens": "max_output_tokens",
    "truncated_turn": "max_output_tokens",
    "truncated_context": "max_total_tokens",
}
"""What verifiers calls the limits that end an episode."""


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
        self._id = _taskset_id(taskset)
        self._pass_at, self._test_share = pass_at, test_share
        self._gold = _function(gold) if gold else None
        train = self._taskset(config or {})
        held_out = train if test_config is None else self._taskset(test_config)
        self._tasks = {"train": _Loaded(train), "test": _Loaded(held_out)}
        self._is_parted = test_config is None
        self._check(train.task_type())
        self._shared_type, self._shared_config = type(train), train.config
        self._tools: list[dict[str, Any]] = []

    async def begin(self) -> None:
        """The tools that its tasks show."""
        task_type = type(self._tasks["train"].task(0))
        for toolset in self._toolsets(task_type, self._tasks["train"].task(0).config):
            self._tools += (await _Served(self._vf, toolset).listed())[0]
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

    async def start(self, task: dict[str, Any]) -> _Episode:
        """An attempt with a trace, a folder and tools of its own."""
        place, key = task["payload"]["place"], task["payload"]["key"]
        theirs = self._tasks[task["payload"]["split"]].task(place)
        if theirs.key != key:
            raise RuntimeError(f"task {place} is another one than before: load() must be the same")
        episode = _Episode(self._vf, theirs, self._toolsets(type(theirs), theirs.config))
        await episode.begin()
        return episode

    async def reply(self, episode: _Episode, message: dict[str, Any]) -> Any:
        """Carry the calls out; a turn without one ends it, as does a @stop of the task."""
        return await episode.reply(message)

    async def grade(self, episode: _Episode, trajectory: dict[str, Any]) -> dict[str, Any]:
        """What `Task.score` pays."""
        return await episode.grade(trajectory, self._pass_at)

    async def close(self, episode: _Episode) -> None:
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
            raise ValueError(f"taskset {self._id!r}: {error}") from error
        if kind is not self._vf.v1.SingleAgentEnv:
            raise ValueError(
                f"taskset {self._id!r} brings an environment of its own ({kind.__name__}), which "
                "verifiers alone can play"
            )
        return taskset

    def _check(self, task_type: Any) -> None:
        """Refuse what would be played otherwise than its author meant."""
        if task_type.NEEDS_CONTAINER:
            raise ValueError(f"{task_type.__name__} needs a container: play it in verifiers itself")
        if self._vf.decorators.discover_decorated(task_type, "intercept"):
            raise ValueError(f"{task_type.__name__} rewrites requests (@intercept)")

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
            for message in opening(self._vf, data)
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

    def task(self, place: int) -> Any:
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


class _Episode:
    """One attempt: verifiers' own trace of it, a folder, and the tools."""

    def __init__(self, vf: Any, task: Any, toolsets: Sequence[Any]) -> None:
        self._vf, self._task = vf, task
        v1 = vf.v1
        self._trace = v1.Trace(
            task=v1.TraceTask(
                type=type(task).__name__, data=task.data, key=task.key, hash=task.hash
            ),
            state=vf.state.state_cls(type(task))(),
            agent=v1.AgentInfo(config=v1.AgentConfig()),
        )
        self._runtime = vf.runtimes.make_runtime(v1.SubprocessConfig(), name=self._trace.id)
        self._said = opening(vf, task.data)
        self._served = [_Served(vf, toolset) for toolset in toolsets]
        self._tools: list[Any] = []
        self._calls: dict[str, tuple[_Served, str]] = {}
        self._stops = _stops(vf, task)
        self._num_turns = 0
        self._life: asyncio.Task[None] | None = None
        self._is_ready = asyncio.Event()
        self._is_over = asyncio.Event()

    async def begin(self) -> None:
        """Set the task and its tools up, in a task that also takes them down."""
        self._life = asyncio.ensure_future(self._live())
        waiting = asyncio.ensure_future(self._is_ready.wait())
        await asyncio.wait([self._life, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._life.done():
            self._life.result()

    async def _live(self) -> None:
        async with AsyncExitStack() as stack:
            self._runtime.env = dict(self._task.runtime_env())
            stack.push_async_callback(self._runtime.stop)
            await self._runtime.start()
            available = {"trace": self._trace, "runtime": self._runtime}
            await self._vf.decorators.invoke(self._task.setup, available)
            for served in self._served:
                await served.begin(stack, self._trace, self._task.data)
                for tool, (shown, name) in zip(*await served.listed(), strict=True):
                    function = tool["function"]
                    self._tools.append(self._vf.types.Tool(**function))
                    self._calls[shown] = (served, name)
            self._is_ready.set()
            await self._is_over.wait()

    async def reply(self, message: dict[str, Any]) -> Any:
        """The answers of its calls; None where it is over."""
        calls = message.get("tool_calls") or []
        self._commit(message, "tool_calls" if calls else "stop")
        if not calls:
            self._trace.stop("agent_completed")
            return None
        answers = await asyncio.gather(*(self._answer(call) for call in calls))
        for call, answer in zip(calls, answers, strict=True):
            self._said.append(
                self._vf.types.ToolMessage(
                    tool_call_id=call["id"], content=answer["content"], name=call["name"]
                )
            )
        for stop in self._stops:
            if await self._vf.session.call_hook(stop, {self._vf.v1.Trace: self._trace}):
                self._trace.stop(stop.__name__)
                return {"observations": answers, "over": True}
        return answers

    async def _answer(self, call: Mapping[str, Any]) -> dict[str, Any]:
        error, content = call["error"], ""
        served, name = self._calls.get(call["name"], (None, ""))
        if not error and served is None:
            error = f"unknown tool {call['name']!r:.60}"
        if not error:
            try:
                arguments = json.loads(call["arguments"] or "{}")
                if not isinstance(arguments, dict):
                    raise TypeError("they must be a JSON object")
            except (ValueError, TypeError, RecursionError) as wrong:
                error = f"the arguments are no JSON object ({str(wrong)[:200]})"
        if not error:
            assert served is not None
            content, error = await served.call(name, arguments)
        shown = content or (f"error: {error}" if error else "")
        return {"role": "tool", "tool_call_id": call["id"], "content": shown, "error": error}

    async def grade(self, trajectory: dict[str, Any], pass_at: float) -> dict[str, Any]:
        """Finalise and score; every reward and metric is a part."""
        said = [one for one in trajectory["messages"] if one["role"] == "assistant"]
        if len(said) > self._num_turns:  # a limit cut the last turn: it was never answered
            self._commit(said[-1], "length")
        if condition := ENDINGS.get(trajectory["ending"]):
            self._trace.stop(condition)
        available = {"trace": self._trace, "runtime": self._runtime}
        limits = self._task.data.timeout
        await asyncio.wait_for(
            self._vf.decorators.invoke(self._task.finalize, available), limits.finalize
        )
        await asyncio.wait_for(self._task.score(self._trace, self._runtime), limits.scoring)
        rewards = self._trace.rewards
        if missing := [name for name, reward in rewards.items() if reward is None]:
            raise RuntimeError(f"not scored: {', '.join(missing)}")
        if not rewards:
            raise RuntimeError(f"{type(self._task).__name__} has no @reward")
        parts = {name: float(reward.score) for name, reward in rewards.items()}
        metrics = {name: value for name, value in self._trace.metrics.items() if value is not None}
        total = float(self._trace.reward)
        return {"reward": total, "passed": total >= pass_at, "parts": {**metrics, **parts}}

    async def close(self) -> None:
        """End what lives; what its end raises is told."""
        self._is_over.set()
        if self._life is not None:
            await self._life

    def _commit(self, message: Mapping[str, Any], finish: str) -> None:
        types = self._vf.types
        turn = types.AssistantMessage(
            content=message["content"],
            reasoning_content=message.get("reasoning") or None,
            tool_calls=[
                types.ToolCall(id=call["id"], name=call["name"], arguments=call["arguments"])
                for call in message.get("tool_calls") or []
            ]
            or None,
        )
        response = types.Response(
            id=f"turn{self._num_turns}",
            created=int(time.time()),
            model="policy",
            message=turn,
            finish_reason=finish,
        )
        self._vf.graph.prepare_turn(self._trace, list(self._said), self._tools).commit(response)
        self._said.append(turn)
        self._num_turns += 1


class _Served:
    """A toolset in this process: its own server object, asked directly."""

    def __init__(self, vf: Any, toolset: Any) -> None:
        self._vf, self._toolset = vf, toolset
        prefix = toolset.server_name
        self._prefix = f"{prefix}_" if prefix else ""
        self._server = vf.mcp.MCPServer(prefix or type(toolset).__name__)
        toolset.register(self._server)

    async def begin(self, stack: AsyncExitStack, trace: Any, data: Any) -> None:
        """Set it up for one task; its state is the trace's."""
        self._share_state(trace)
        await stack.enter_async_context(self._toolset._exit_stack)  # what its server enters
        await self._toolset.setup()
        await self._toolset.setup_task(data)

    def _share_state(self, trace: Any) -> None:
        """Where verifiers' servers fetch and send the state, over HTTP, this hands it over."""
        kind = self._toolset._state_cls

        async def pull() -> Any:
            if isinstance(trace.state, kind):
                return trace.state
            return kind.model_validate(trace.state.model_dump())

        async def push(before: bytes) -> None:  # noqa: ARG001 - verifiers' own form
            return None

        self._toolset._pull_state, self._toolset._push_state = pull, push

    async def listed(self) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
        """Its tools in the OpenAI shape, and of each the name shown and its own."""
        tools = await self._server.list_tools()
        shown = [f"{self._prefix}{tool.name}" for tool in tools]
        schemas = [
            {
                "type": "function",
                "function": {
                    "name": name,
                    "description": tool.description or "",
                    "parameters": tool.input_schema,
                },
            }
            for name, tool in zip(shown, tools, strict=True)
        ]
        return schemas, [(name, tool.name) for name, tool in zip(shown, tools, strict=True)]

    async def call(self, name: str, arguments: dict[str, Any]) -> tuple[str, str]:
        """What a tool says, and why it failed: as a server of verifiers would say it."""
        try:
            result = await self._server.call_tool(name, arguments)
        except self._vf.mcp_errors as error:
            return "", " ".join(str(error).split())[:2000]
        texts = [
            block.text if block.type == "text" else f"[{block.type}]" for block in result.content
        ]
        text = "\n".join(texts)
        return text, text if getattr(result, "is_error", False) else ""


def opening(vf: Any, data: Any) -> list[Any]:
    """A task's own messages, its system prompt first."""
    types = vf.types
    prompt = data.prompt
    said = [types.UserMessage(content=prompt)] if isinstance(prompt, str) else list(prompt or [])
    system = [types.SystemMessage(content=data.system_prompt)] if data.system_prompt else []
    return [*system, *said]


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


def _stops(vf: Any, task: Any) -> list[Callable[..., Any]]:
    stops: list[Callable[..., Any]] = task.hooks("stop")
    for stop in stops:
        if vf.session.hook_boundary(stop, allow_trace=True) is not vf.v1.Trace:
            raise ValueError(f"@stop {stop.__name__} looks at requests, which are not played")
    return stops


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
        mcp=server,
        mcp_errors=(errors.MCPServerError,),
        **{part: importlib.import_module(f"verifiers.v1.utils.{part}") for part in parts},
    )
