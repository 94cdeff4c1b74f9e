"""One attempt: calls carried out in the servers' sessions, and what came of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from munro.envs.base import Episode, Outcome
from munro.envs.mcp import house
from munro.envs.mcp.errors import BadServer, ServerFailure
from munro.envs.mcp.pool import Pool
from munro.envs.mcp.results import bounded, text_of
from munro.envs.mcp.session import Session
from munro.envs.mcp.tools import Offered, catalogue, check_schema
from munro.envs.thoughts import without_thoughts
from munro.envs.tool_use import is_text, parse_calls, strict_json
from munro.envs.types import Answer, Message, Task, ToolCall, Trajectory
from munro.envs.worlds.grade import answer_of, is_same
from munro.rewards.types import Grade

MOST_CALLS = 16
"""Calls in one turn that are carried out; the rest are refused."""
SETTLE_S = 0.001
"""In which what a server said before its answer is heard, by the tasks that hear it."""
MOST_NEWS = 8_000
"""Characters in which a model is told of other tools."""


class Attempt(Episode):
    """An episode of `McpTools`. Its sessions live in the house's loop, and so does all that asks
    them."""

    def __init__(
        self,
        pool: Pool,
        task: Task,
        sessions: dict[str, Session],
        tools: dict[str, Offered],
        leave_out: Callable[[str], set[str]],
    ) -> None:
        self._pool, self._task, self._sessions = pool, task, sessions
        self._tools, self._leave_out = tools, leave_out
        self._changes = {name: one.changes for name, one in sessions.items()}
        self._shows_all = False

    @classmethod
    async def opened(
        cls,
        pool: Pool,
        task: Task,
        names: Sequence[str],
        leave_out: Callable[[str], set[str]],
    ) -> Attempt:
        """A new one; in the house's loop.

        Args:
            pool: of sessions.
            task: that is attempted.
            names: of the tools that it shows.
            leave_out: by a server's name, tools that no model sees.

        Raises:
            ServerFailure: a server is not there, or no longer has one of the tools.
        """
        sessions = await pool.take_all()
        try:
            there = _there(sessions, leave_out)
            if gone := [name for name in names if name not in there]:
                raise ServerFailure(f"the servers no longer list {', '.join(gone[:5])}")
            made = cls(pool, task, sessions, {name: there[name] for name in names}, leave_out)
            made._shows_all = len(names) == len(there)
        except BaseException:
            await pool.give_back(sessions)
            raise
        return made

    async def reply(self, message: Message) -> Sequence[Message] | None:
        calls: Sequence[ToolCall] = message.tool_calls
        if not message.is_sampled and not calls:
            calls = parse_calls(without_thoughts(message.content))
        if not calls:
            return None
        return await house.within(self._answers(calls))

    async def grade(self, trajectory: Trajectory) -> Outcome:
        expected = self._task.payload.get("answer")
        if not expected:
            return None
        said = answer_of(without_thoughts(trajectory.reply))
        passed = is_same(str(expected), said)
        return Grade.of(passed, reason="" if passed else f"answered {said[:40]!r}")

    async def close(self) -> None:
        sessions, self._sessions = self._sessions, {}
        await house.within(self._pool.give_back(sessions))

    async def _answers(self, calls: Sequence[ToolCall]) -> list[Answer]:
        answers: list[Answer] = []
        news = [await self._news()]
        for together, group in groupby(calls[:MOST_CALLS], key=self._may_run_at_once):
            batch = [*group]
            if together:
                answers += await _all(batch, self._answer)
            else:
                answers += [await self._answer(made) for made in batch]
        if len(calls) > MOST_CALLS:
            answers.append(
                _error(calls[MOST_CALLS].id, f"more than {MOST_CALLS} calls in one turn")
            )
        await asyncio.sleep(SETTLE_S)
        news.append(await self._news())
        if told := "\n".join(filter(None, news)):
            answers[-1] = replace(answers[-1], content=f"{answers[-1].content}\n\n{told}")
        return answers

    def _may_run_at_once(self, made: ToolCall) -> bool:
        tool = self._tools.get(made.name)
        return tool is None or tool.is_read_only

    async def _answer(self, made: ToolCall) -> Answer:
        """One call. Only what the model or a tool did wrong becomes text."""
        began = time.monotonic()
        if made.error:
            return _error(made.id, made.error)
        tool = self._tools.get(made.name)
        if tool is None:
            there = ", ".join([*self._tools][:100])
            return _error(made.id, f"there is no tool {made.name[:40]!r}; there are: {there}")
        try:
            arguments = strict_json(made.arguments)
        except (ValueError, RecursionError) as wrong:
            text = f"{made.name}: the arguments are not JSON ({str(wrong)[:100]})"
            return _error(made.id, text)
        if not isinstance(arguments, dict) or not is_text(arguments):
            return _error(made.id, f"{made.name}: the arguments are no JSON object of texts")
        result = await self._sessions[tool.server].call(tool.own_name, arguments)
        text, error = text_of(result)
        return Answer(
            role="tool",
            content=text,
            tool_call_id=made.id,
            error=error,
            seconds=time.monotonic() - began,
        )

    async def _news(self) -> str:
        """What a model must be told where servers have other tools now; empty where not."""
        changes = {name: one.changes for name, one in self._sessions.items()}
        if changes == self._changes:
            return ""
        self._changes = changes
        for session in self._sessions.values():
            await session.refresh()
        there = _there(self._sessions, self._leave_out)
        gone = [name for name in self._tools if name not in there]
        new = [name for name in there if name not in self._tools] if self._shows_all else []
        try:
            for name in new:
                check_schema(there[name])
        except BadServer as error:
            raise ServerFailure(str(error)) from error
        kept = [name for name in self._tools if name in there]
        self._tools = {name: there[name] for name in (*kept, *new)}
        lines = [f"(no longer there: {', '.join(gone)})"] if gone else []
        lines += [f"(a new tool: {_shown(there[name])})" for name in new]
        return bounded("\n".join(lines), MOST_NEWS)


def _shown(tool: Offered) -> str:
    return json.dumps(tool.schema["function"], ensure_ascii=False)


def _there(
    sessions: dict[str, Session], leave_out: Callable[[str], set[str]]
) -> dict[str, Offered]:
    try:
        return catalogue(
            {
                name: [tool for tool in one.tools if tool.name not in leave_out(name)]
                for name, one in sessions.items()
            }
        )
    except BadServer as error:
        raise ServerFailure(str(error)) from error


async def _all(
    calls: Sequence[ToolCall], answer: Callable[[ToolCall], Coroutine[Any, Any, Answer]]
) -> list[Answer]:
    """All at once, in the order of the calls; the first failure ends the others."""
    tasks = [asyncio.ensure_future(answer(made)) for made in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _error(call_id: str, text: str) -> Answer:
    return Answer(role="tool", content=f"Error: {text}", tool_call_id=call_id, error=text)
