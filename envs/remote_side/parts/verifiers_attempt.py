"""One attempt at a task of verifiers 0.4: what `munro/envs/remote_side/verifiers.py` plays.

Standard library and verifiers alone; `vf` holds the modules of verifiers that are used.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

ENDINGS = {
    "truncated_turns": "max_turns",
    "truncated_tokens": "max_output_tokens",
    "truncated_turn": "max_output_tokens",
    "truncated_context": "max_total_tokens",
}
"""What verifiers calls the limits that end an episode."""


class Attempt:
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
        self._served = [Served(vf, toolset) for toolset in toolsets]
        self._tools: list[Any] = []
        self._calls: dict[str, tuple[Served, str]] = {}
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


class Served:
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


def _stops(vf: Any, task: Any) -> list[Callable[..., Any]]:
    stops: list[Callable[..., Any]] = task.hooks("stop")
    for stop in stops:
        if vf.session.hook_boundary(stop, allow_trace=True) is not vf.v1.Trace:
            raise ValueError(f"@stop {stop.__name__} looks at requests, which are not played")
    return stops
