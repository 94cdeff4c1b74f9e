"""Conversations with tools that somebody recorded (Toucan and its like): there is no end state to
look at, so judges grade them.

    [env]
    path = "recorded"
    args = { path = "toucan.parquet" }
    reward = "work"
    [env.graders.work]
    kind = "judge"
    args = { judge = "helper", ask = "scale" }

row      {"messages": [...], "tools": [...]}, both as they are or as JSON texts
prompt   what was said before the assistant's first turn; the tools that were shown
call     one that was recorded (same tool, same arguments) is answered as it was then; of any other
         the model is told that no answer was recorded
user     after a turn without calls the recorded user's next one; where there is none it is over
gold     the recorded assistant
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, ClassVar

from munro.envs.base import Environment, Episode, Policy
from munro.envs.data.columns import Row, text_of, unbroken
from munro.envs.data.rows import by_last_message, open_rows, parted
from munro.envs.tool_use import parse_calls, strict_json
from munro.envs.types import Answer, Message, Task, ToolCall, Trajectory
from munro.rewards.types import Grade

CALLED = ("tool_call", "function_call")
"""Roles of a turn that is a call, beside the assistant's own."""
ANSWERED = ("tool", "function", "tool_response", "observation")
TOOLS = ("tools", "available_tools")
NOT_RECORDED = "no answer to this call was recorded"


class Recorded(Environment):
    """Recorded conversations with tools, replayed as far as they go, for graders the TOML names."""

    name = "recorded"
    file_args: ClassVar[tuple[str, ...]] = ("path", "test_path")
    needs_graders: bool = True

    def __init__(
        self,
        path: str,
        subset: str = "",
        split: str = "train",
        test_path: str = "",
        test_split: str = "",
        test_share: float = 0.1,
    ) -> None:
        """Read the rows once, to check each of them and to part training from testing.

        Args:
            path: a .jsonl or .parquet file, or the name of a data set on the hub.
            subset: of a data set on the hub.
            split: of a data set on the hub, to train on.
            test_path: a file of held-out rows.
            test_split: of a data set on the hub, held out.
            test_share: where neither is given, this share of the conversations is held out.
        """
        rows = open_rows(path, subset, split)
        held_out = None
        if test_path or test_split:
            held_out = open_rows(test_path or path, subset, test_split or split)
        self._train, self._test = parted(
            partial(by_last_message, self.task), rows, held_out, test_share
        )

    def tasks(self, split: str) -> Sequence[Task]:
        """The rows of one side, each made into a task when it is drawn."""
        return self._train if split == "train" else self._test

    def start(self, task: Task) -> Episode:
        """An episode in which the recording answers."""
        return Replay(task.payload["recorded"])

    def gold_policy(self, task: Task) -> Policy:
        """The recorded assistant, turn by turn."""
        turns = iter(_turns(task.payload["recorded"]))
        return lambda seen: next(turns, "")  # noqa: ARG005 - it says what it said

    def task(self, row: Row, place: str) -> Task:
        """One row as a task. `place` ("file:line") names it where it is unusable."""
        if not isinstance(row, Mapping):
            raise ValueError(f"{place} is not a table with messages and tools.")
        said = list(_said(_listed(row, "messages", place), place))
        first = next((n for n, one in enumerate(said) if one["kind"] in ("call", "speech")), None)
        if first is None:
            raise ValueError(f"{place}: messages holds no turn of the assistant.")
        opening = tuple(Message(role=one["role"], content=one["text"]) for one in said[:first])
        if not opening or opening[-1].role != "user" or not opening[-1].content.strip():
            raise ValueError(f"{place}: the first turn of the assistant answers no user.")
        column = next((name for name in TOOLS if row.get(name)), "")
        tools = tuple(_tools(_listed(row, column, place), place)) if column else ()
        spoken = [one["text"] for one in said if one["kind"] == "speech"]
        others = {
            name: value
            for name, value in row.items()
            if name not in ("messages", *TOOLS, "id", "uuid") and value is not None
        }
        own = next((name for name in ("id", "uuid") if row.get(name)), "")
        return Task(
            id=text_of(row, own, place) if own else place.rpartition(":")[2],
            messages=opening,
            tools=tools,
            payload={
                "question": opening[-1].content,
                **others,
                "reference": spoken[-1] if spoken else "",
                "recorded": said[first:],
            },
        )


class Replay(Episode):
    """An attempt that a recording answers."""

    def __init__(self, recorded: Sequence[Mapping[str, Any]]) -> None:
        self._answers: dict[tuple[str, str], list[str]] = {}
        for one in recorded:
            if one["kind"] == "call" and one["text"] is not None:
                key = _key(one["name"], one["arguments"])
                self._answers.setdefault(key, []).append(one["text"])
        self._users = [one["text"] for one in recorded if one["kind"] == "user"]

    def reply(self, message: Message) -> Sequence[Message] | None:
        calls: Sequence[ToolCall] = message.tool_calls
        if not message.is_sampled and not calls:
            calls = parse_calls(message.content)
        if calls:
            return [self._answer(call) for call in calls]
        return [Message(role="user", content=self._users.pop(0))] if self._users else None

    def grade(self, trajectory: Trajectory) -> Grade:
        """Never asked: graders grade."""
        raise NotImplementedError("recorded has no grade of its own: name graders in the TOML")

    def _answer(self, call: ToolCall) -> Answer:
        error, text = call.error, ""
        if not error:
            try:
                found = self._answers.get(_key(call.name, strict_json(call.arguments or "{}")))
            except (ValueError, RecursionError) as wrong:
                found, error = None, f"the arguments are not JSON ({str(wrong)[:100]})"
            if found:  # asked again, a tool says what it said last
                text = found.pop(0) if len(found) > 1 else found[0]
            elif not error:
                error = NOT_RECORDED
        content = f"Error: {error}" if error else text
        return Answer(role="tool", content=content, tool_call_id=call.id, error=error)


def _key(name: str, arguments: Any) -> tuple[str, str]:
    return name, json.dumps(arguments, sort_keys=True)


def _turns(recorded: Sequence[Mapping[str, Any]]) -> Iterator[Message | str]:
    """The recorded assistant's turns: calls that waited for no answer are one."""
    for (kind, _), group in groupby(recorded, key=lambda one: (one["kind"], one.get("turn"))):
        if kind == "call":
            calls = tuple(
                ToolCall(
                    id=f"call{one['turn']:03d}{number:02d}",
                    name=one["name"],
                    arguments=json.dumps(one["arguments"]),
                )
                for number, one in enumerate(group)
            )
            yield Message(role="assistant", content="", tool_calls=calls, is_sampled=True)
        elif kind == "speech":
            yield from (one["text"] for one in group)


def _said(messages: Sequence[Any], place: str) -> Iterator[dict[str, Any]]:
    """The messages in one form: {"kind": "user", "text"}, {"kind": "speech", "text"}, or {"kind":
    "call", "name", "arguments", "text": the answer}; the opening's have a role too.

    Raises:
        ValueError: one of them is none.
    """
    waiting: list[dict[str, Any]] = []
    """Calls without their answers yet."""
    turn = 0
    for number, message in enumerate(messages):
        where = f"{place}: messages[{number}]"
        if not isinstance(message, Mapping):
            raise ValueError(f"{where} is no object.")
        role, content = message.get("role"), message.get("content")
        text = unbroken("" if content is None else _text(content), "message", where)
        calls = list(_calls(message, role, text, where))
        if role in ANSWERED:
            call_id = message.get("tool_call_id") or ""
            match = [one for one in waiting if call_id and one["id"] == call_id] or waiting[:1]
            if not match:
                raise ValueError(f"{where} answers no call.")
            match[0]["text"] = text
            waiting.remove(match[0])
            turn += 1
        elif calls:
            for one in calls:
                one["turn"] = turn
                waiting.append(one)
                yield one  # its answer is written into it once it comes
        elif role == "assistant":
            yield {"kind": "speech", "role": role, "text": text}
        elif role in ("system", "developer", "user"):
            yield {"kind": "user" if role == "user" else "rule", "role": role, "text": text}
        else:
            raise ValueError(f"{where}: role = {role!r:.40} is none of a conversation's.")


def _calls(
    message: Mapping[str, Any], role: Any, text: str, where: str
) -> Iterator[dict[str, Any]]:
    """The calls of a message, in any of the forms that tables of the field write."""
    given: list[Any] = list(message.get("tool_calls") or [])
    if message.get("function_call"):
        given.append(message["function_call"])
    if role in CALLED:
        given.append(_parsed(text, where))
    for one in given:
        function = one.get("function", one) if isinstance(one, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ValueError(f"{where} holds a call without a name.")
        arguments = function.get("arguments")
        arguments = _parsed(arguments or "{}", where) if isinstance(arguments, str) else arguments
        own = {"id": one.get("id") or "", "name": function["name"], "arguments": arguments or {}}
        yield {"kind": "call", **own, "text": None}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        return "\n".join(str(part.get("text", "")) for part in content)
    return json.dumps(content, ensure_ascii=False)


def _parsed(text: str, where: str) -> Any:
    try:
        return strict_json(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} holds what is not JSON ({str(error)[:100]}).") from error


def _listed(row: Row, column: str, place: str) -> Sequence[Any]:
    value = row.get(column)
    if isinstance(value, str):
        value = _parsed(value, f"{place}: {column}")
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError(f"{place}: {column} must be a list, or the JSON of one.")
    return value


def _tools(given: Sequence[Any], place: str) -> Iterator[Mapping[str, Any]]:
    """Schemas in the OpenAI shape, of such or of bare functions."""
    for number, tool in enumerate(given):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ValueError(f"{place}: tools[{number}] is no function with a name.")
        parameters = function.get("parameters") or {"type": "object", "properties": {}}
        shown = {"description": "", **function, "parameters": parameters}
        yield {"type": "function", "function": shown}
