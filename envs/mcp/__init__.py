"""Tasks that are solved by calling tools of MCP servers: anybody's, or our own worlds.

prompt   What time is it in Tokyo when it is 12:00 in Lima?
reply    <tool_call>{"name": "convert_time", "arguments": {...}}</tool_call>
         {"source": ..., "target": {"datetime": "2026-11-29T02:00:00+09:00"}, ...}
         Answer: 02:00
grade    passed: the answer is the row's (or what `[env.graders]` say)

Servers come by command, by address, or out of this process; tasks out of rows (docs/mcp.md).
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from munro.envs.base import Environment, Episode
from munro.envs.budget import Budget
from munro.envs.data.rows import Rows, RowTasks, open_rows, place_of
from munro.envs.mcp import house
from munro.envs.mcp.attempt import Attempt
from munro.envs.mcp.config import ServerConfig, servers_of
from munro.envs.mcp.errors import BadServer, ServerFailure
from munro.envs.mcp.package import require
from munro.envs.mcp.pool import Pool
from munro.envs.mcp.rows import Asked, check_columns, read
from munro.envs.mcp.session import check_place
from munro.envs.mcp.tools import Offered, catalogue, check_schema, shown
from munro.envs.types import Message, Task
from munro.rewards.plugins import resolve

ASK = '{prompt}\n\nEnd with a line "Answer: ..." that holds nothing but the answer.'
MOST_SHOWN = 512
"""Tools that a task shows where nobody says which."""


class McpTools(Environment):
    """Tools of MCP servers, tasks of rows; graded by the row's answer or by graders."""

    name = "mcp"
    file_args: ClassVar[tuple[str, ...]] = ("path", "test_path")

    def __init__(
        self,
        path: str,
        servers: Mapping[str, Mapping[str, Any]],
        columns: Mapping[str, str] | None = None,
        ask: str = "",
        tools_shown: int = 0,
        test_path: str = "",
        test_share: float = 0.1,
    ) -> None:
        """Read the rows once, to check each; no server is started before tasks are asked for.

        Args:
            path: of the rows: a .jsonl, .csv or .parquet file, or the name of a data set on the
                hub (`munro.envs.mcp.rows` says what a row holds).
            servers: by name, each a table of `munro.envs.mcp.config.ServerConfig`.
            columns: names of columns by what they hold: prompt, answer, tools, calls, id.
            ask: the prompt, with {prompt} in it; unless given, a request for a line "Answer: ...",
                where the rows have answers.
            tools_shown: that each task shows: those that its row names or calls, and others drawn
                by its id; 0 for those that the row names, or all where it names none.
            test_path: a file of held-out rows.
            test_share: where it is not given, this share of the prompts is held out.
        """
        require()
        self._servers = servers_of(servers)
        for name, server in self._servers.items():
            _checked(name, server)
        if ask and "{prompt}" not in ask:
            raise ValueError(f"ask = {ask!r}: it must hold {{prompt}}.")
        if not 0 <= test_share < 1:
            raise ValueError(f"test_share = {test_share}: give a share in [0, 1).")
        if tools_shown < 0:
            raise ValueError(f"tools_shown = {tools_shown}: give a number of tools, or 0.")
        self._columns = check_columns(columns or {})
        self._ask, self._tools_shown = ask, tools_shown
        rows = open_rows(path, "", "train")
        if not len(rows):
            raise ValueError(f"{path} holds no rows: write one task a line.")
        bound = 0 if test_path else int(test_share * 2**32)
        self._train = self._side(rows, lambda text: place_of(text) >= bound)
        self._test = (
            self._side(open_rows(test_path, "", "train"), lambda _: True)
            if test_path
            else self._side(rows, lambda text: place_of(text) < bound)
        )
        self.needs_graders = any(
            not read(row, self._columns, rows.place(number)).answer
            for number, row in enumerate(rows)
        )
        self._offered: dict[str, Offered] | None = None
        holds = any(one.command and not one.shared for one in self._servers.values())
        self.budget = Budget(turns=30, boxes="auto" if holds else None)
        self._pool = Pool(self._servers)
        # those that are kept for later episodes end with the environment
        weakref.finalize(self, _left, self._pool)

    @classmethod
    def settled(cls, args: Mapping[str, Any]) -> dict[str, Any]:
        """Also where servers start and what they are made of."""
        made = super().settled(args)
        tables = made.get("servers")
        if isinstance(tables, Mapping):
            made["servers"] = {name: _settled(table) for name, table in tables.items()}
        return made

    @property
    def box_mb(self) -> int:
        """Of all the processes that an episode holds."""
        return sum(one.memory_mb for one in self._servers.values() if one.command)

    def tasks(self, split: str) -> Sequence[Task]:
        """The rows of one side, each made into a task when it is drawn.

        Raises:
            BadServer: a server will not start, or lists what is no tool.
        """
        self._known()
        return self._train if split == "train" else self._test

    async def start(self, task: Task) -> Episode:
        """An episode with sessions of its own (or those that are shared), over with the first turn
        that calls nothing."""
        names = tuple(tool["function"]["name"] for tool in task.tools)
        return await house.within(Attempt.opened(self._pool, task, names, self._leave_out))

    def gold_policy(self, task: Task) -> Any:
        """The row's calls, a turn at a time; then its answer. None where it has no calls."""
        turns = task.payload.get("gold_calls")
        if not turns:
            return None
        texts = ["\n".join(map(_hermes, turn)) for turn in turns]
        texts.append(f"Answer: {task.payload.get('answer', '')}")
        turn = -1

        def policy(seen: Sequence[Message]) -> str:  # noqa: ARG001
            nonlocal turn
            turn += 1
            return texts[min(turn, len(texts) - 1)]

        return policy

    def gold_reply(self, task: Task) -> str | None:
        """The row's answer, where it says one and no calls."""
        answer = task.payload.get("answer")
        return f"Answer: {answer}" if answer else None

    def task(self, row: Mapping[str, Any], place: str) -> Task:
        """One row as a task. `place` ("file:line") names it where it is unusable."""
        asked = read(row, self._columns, place)
        offered = self._known()
        try:
            names = shown([*offered], asked.tools, asked.needed, self._tools_shown, asked.id)
        except BadServer as error:
            raise BadServer(f"{place}: {error}") from error
        if len(names) > MOST_SHOWN and not self._tools_shown and asked.tools is None:
            raise BadServer(
                f"the servers list {len(names)} tools, more than the {MOST_SHOWN} that are shown "
                "unasked: say tools_shown, or name tools in the rows."
            )
        ask = self._ask or (ASK if asked.answer else "{prompt}")
        *before, last = asked.messages
        prompt = ask.replace("{prompt}", last.content.strip())
        return Task(
            id=asked.id,
            messages=(*before, Message(role=last.role, content=prompt)),
            tools=tuple(offered[name].schema for name in names),
            payload=_payload(asked, last.content),
        )

    def _side(self, rows: Rows, is_ours: Callable[[str], bool]) -> RowTasks:
        ours = [
            number
            for number, row in enumerate(rows)
            if is_ours(read(row, self._columns, rows.place(number)).messages[-1].content)
        ]
        return RowTasks(self.task, rows, ours)

    def _known(self) -> dict[str, Offered]:
        """The tools, asked of the servers once."""
        if self._offered is None:
            try:
                offered = catalogue(house.wait_for(_listed(self._pool, self._leave_out)))
            except ServerFailure as failure:
                raise BadServer(str(failure)) from failure
            for tool in offered.values():
                check_schema(tool)
            if not offered:
                raise BadServer(f"the servers {', '.join(self._servers)} list no tools.")
            self._offered = offered
        return self._offered

    def _leave_out(self, server: str) -> set[str]:
        """Own names of tools that no model sees."""
        config = self._servers[server]
        return {*config.without, config.reset_tool}


async def _listed(pool: Pool, leave_out: Callable[[str], set[str]]) -> dict[str, list[Any]]:
    sessions = await pool.take_all()
    try:
        return {
            name: [tool for tool in one.tools if tool.name not in leave_out(name)]
            for name, one in sessions.items()
        }
    finally:
        await pool.give_back(sessions)


def _payload(asked: Asked, question: str) -> dict[str, Any]:
    """For graders."""
    said = {**asked.rest, "question": question}
    if asked.answer:
        said["answer"] = asked.answer
    if asked.calls:
        said["gold_calls"] = [[dict(call) for call in turn] for turn in asked.calls]
    return said


def _checked(name: str, server: ServerConfig) -> None:
    try:
        check_place(server)
    except BadServer as error:
        raise BadServer(f"servers.{name}: {error}") from error


def _settled(table: Any) -> Any:
    if not isinstance(table, Mapping):
        return table
    made = dict(table)
    if made.get("command") and not made.get("sandbox"):
        made["cwd"] = str(Path(made.get("cwd") or ".").expanduser().resolve())
    if isinstance(made.get("object"), str):
        made["object"] = resolve(made["object"])
    return made


def _hermes(call: Mapping[str, Any]) -> str:
    """A call in the form of gold replies."""
    return f"<tool_call>{json.dumps(dict(call))}</tool_call>"


def _left(pool: Pool) -> None:
    if pool.is_empty:
        return
    house.loop().call_soon_threadsafe(lambda: house.loop().create_task(pool.close()))
