"""Environments in which the model may call functions before it answers.

The model calls in the form of its family (`munro.rollout.calls`), in its own text, as often as it
likes in one turn. Texts that no model wrote, gold replies among them, call in the Hermes form:

    <tool_call>{"name": "add", "arguments": {"a": 17, "b": 25}}</tool_call>

Each call is answered by a message of role "tool", in the order of the calls, whichever of them
have run at once. A turn without a call ends the episode, and so does a call of a tool that finishes
it; what stands inside of a thought is no call.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar, get_type_hints, overload
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from munro.envs.base import Environment, Episode, Outcome, Over, as_grade, call
from munro.envs.thoughts import parted, without_thoughts
from munro.envs.types import Answer, Message, Task, ToolCall, Trajectory
from munro.rewards.types import Grade

F = TypeVar("F", bound=Callable[..., Any])

CALL = re.compile(r"(?<!`)<tool_call>(.*?)(</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
FORM = '<tool_call>{"name": NAME, "arguments": {...}}</tool_call>'
HALVES = "the call holds half a surrogate pair, which is no text"
NOT_ARGUMENTS = ("self", "state")


class ToolError(Exception):
    """Raised by a tool for what the model did wrong: its text is what the model reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOptions:
    """How one tool is called."""

    parallel: bool | None = None
    """Calls of it in one turn may run at once, also with those of other such tools; unless said, an
    async one's may. A call of any other tool waits for those before it, and those after it wait."""
    finishes: bool = False
    """A call of it that does not fail ends the episode."""
    limit_s: float | None = None
    """Wall seconds after which a call is given up, and the model is told so; else only the limit of
    the whole turn holds, which leaves the attempt unscored."""


@overload
def tool(function: F) -> F: ...
@overload
def tool(
    *, parallel: bool | None = None, finishes: bool = False, limit_s: float | None = None
) -> Callable[[F], F]: ...
def tool(function: F | None = None, **options: Any) -> F | Callable[[F], F]:
    """Mark a method that the model may call. Its type hints and docstring become the schema.

    A parameter called `state` is not the model's: it receives the episode's own state.

    Args:
        function: the method, where there are no options.
        options: of `ToolOptions`.

    Example:
        @tool(limit_s=30)
        async def fetch(self, name: str) -> str: ...
    """
    chosen = ToolOptions(**options)

    def mark(method: F) -> F:
        method.__dict__["is_tool"] = True
        method.__dict__["tool_options"] = chosen
        return method

    return mark if function is None else mark(function)


class ToolUse(Environment):
    """Several turns with tools: write `tasks`, methods marked with `tool`, and `grade`.

    Example:
        class Shop(ToolUse):
            def tasks(self, split):
                return [Task(id="pear", prompt="What does a pear cost?", payload={"cost": "3"})]

            @tool
            def price(self, fruit: str) -> int:
                "Price of one fruit."
                return {"pear": 3, "fig": 1}[fruit]

            def grade(self, task, reply, state):
                return task.payload["cost"] in reply

            def gold_reply(self, task):
                ask = '<tool_call>{"name": "price", "arguments": {"fruit": "pear"}}</tool_call>'
                return [ask, "It costs 3."]
    """

    most_calls = 16
    """Calls in one turn that are carried out; the rest are refused."""

    @abstractmethod
    def grade(self, task: Task, reply: str, state: dict[str, Any]) -> Outcome | Awaitable[Outcome]:
        """Judge the last turn's text and what the tools left in `state`."""

    def evidence(
        self,
        task: Task,  # noqa: ARG002
        state: dict[str, Any],  # noqa: ARG002
    ) -> Mapping[str, str] | Awaitable[Mapping[str, str]]:
        """What added graders may read of `state`, by field name (`Episode.evidence`); not asked
        for where nothing has needed a state yet."""
        return {}

    def setup(self, task: Task) -> dict[str, Any] | Awaitable[dict[str, Any]]:  # noqa: ARG002
        """A new episode's own state, for tools that take `state`."""
        return {}

    def teardown(self, state: dict[str, Any]) -> Awaitable[None] | None:  # noqa: ARG002
        """Free what `setup` made."""
        return None

    def save_state(self, state: dict[str, Any]) -> bytes | Awaitable[bytes | None] | None:  # noqa: ARG002
        """The state after a turn, for `restore_state`; None where it cannot be had just now."""
        return None

    def restore_state(
        self,
        task: Task,
        saved: bytes,
    ) -> dict[str, Any] | Awaitable[dict[str, Any]]:
        """The state again, of an episode that goes on; override both to opt in."""
        raise NotImplementedError(f"{self.name} restores no episodes")

    @property
    def restores(self) -> bool:
        """Where `restore_state` is there, or a `restore` of its own."""
        cls = type(self)
        return cls.restore_state is not ToolUse.restore_state or cls.restore is not ToolUse.restore

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """JSON schemas of all marked methods, in the OpenAI shape."""
        return tuple(_schema(name, method) for name, method in self.methods().items())

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The marked methods by name."""
        return {
            name: getattr(self, name)
            for name, member in inspect.getmembers_static(type(self))
            if getattr(member, "is_tool", False)
        }

    def start(self, task: Task) -> Episode:
        """An episode that is over with the first turn that calls nothing."""
        return Conversation(self, task)

    async def restore(self, task: Task, saved: bytes) -> Episode:
        """The same, with the state that was saved."""
        return Conversation(self, task, await call(self.restore_state, task, saved))


class Conversation(Episode):
    """An episode of `ToolUse`."""

    def __init__(
        self, environment: ToolUse, task: Task, state: dict[str, Any] | None = None
    ) -> None:
        self._environment = environment
        self._task = task
        self._methods = environment.methods()
        self._state = state
        self._opening = asyncio.Lock()

    async def reply(self, message: Message) -> Sequence[Message] | None:
        calls: Sequence[ToolCall] = message.tool_calls
        if not message.is_sampled and not calls:
            calls = parse_calls(without_thoughts(message.content))
        if not calls:
            return None
        most = self._environment.most_calls
        answers: list[Answer] = []
        for batch in self._batches(calls[:most]):
            answers += await _all_of([self._timed(each) for each in batch])
        if any(self._ends(made, got) for made, got in zip(calls, answers, strict=False)):
            return Over(answers)
        if len(calls) > most:
            answers.append(_error(calls[most].id, f"more than {most} calls in one turn"))
        return answers

    async def grade(self, trajectory: Trajectory) -> Grade:
        state = await self.opened()
        grade = self._environment.grade
        return as_grade(await call(grade, self._task, trajectory.reply, state))

    async def evidence(self) -> Mapping[str, str]:
        if self._state is None:
            return {}
        shown: Mapping[str, str] = await call(self._environment.evidence, self._task, self._state)
        return shown

    async def save(self) -> bytes | None:
        saved: bytes | None = await call(self._environment.save_state, await self.opened())
        return saved

    async def close(self) -> None:
        if self._state is not None:
            await call(self._environment.teardown, self._state)

    @property
    def state(self) -> dict[str, Any] | None:
        """What `ToolUse.setup` made; None as long as nothing needed it."""
        return self._state

    async def opened(self) -> dict[str, Any]:
        """The state, made now where nothing has needed it yet."""
        async with self._opening:
            if self._state is None:
                self._state = await call(self._environment.setup, self._task)
            return self._state

    def _batches(self, calls: Sequence[ToolCall]) -> Iterator[list[ToolCall]]:
        """The calls in order, those together that may run at once."""
        for together, group in groupby(calls, key=self._is_parallel):
            if together:
                yield list(group)
            else:
                yield from ([each] for each in group)

    def _is_parallel(self, wanted: ToolCall) -> bool:
        method = self._methods.get(wanted.name)
        if wanted.error or method is None:
            return True  # nothing is carried out
        said = _options(method).parallel
        return inspect.iscoroutinefunction(method) if said is None else said

    def _ends(self, made: ToolCall, answer: Answer) -> bool:
        method = self._methods.get(made.name)
        return method is not None and not answer.error and _options(method).finishes

    async def _timed(self, wanted: ToolCall) -> Answer:
        began = time.monotonic()
        answer = await self._answer(wanted)
        return replace(answer, seconds=time.monotonic() - began)

    async def _answer(self, wanted: ToolCall) -> Answer:
        """The observation of one call. Only what the model did wrong becomes text."""
        if wanted.error:
            return _error(wanted.id, wanted.error)
        method = self._methods.get(wanted.name)
        if method is None:
            there = ", ".join(self._methods)
            return _error(wanted.id, f"there is no tool {wanted.name[:40]!r}; there are: {there}")
        try:
            given = _arguments(method).model_validate(strict_json(wanted.arguments))
        except ValidationError as error:
            wrong = "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}"
                for item in error.errors(include_url=False, include_input=False)[:5]
            )
            return _error(wanted.id, f"{wanted.name}: {wrong}")
        except (ValueError, RecursionError) as error:
            return _error(wanted.id, f"{wanted.name}: the arguments are not JSON ({error})")
        arguments = {name: getattr(given, name) for name in type(given).model_fields}
        if "state" in inspect.signature(method).parameters:
            arguments["state"] = await self.opened()
        limit_s = _options(method).limit_s
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                result = await call(lambda: method(**arguments))
        except ToolError as error:
            return _error(wanted.id, str(error))
        except TimeoutError:
            if not limit.expired():
                raise
            late = f"{wanted.name} took longer than {limit_s:g} s and was given up"
            return _error(wanted.id, late)
        content = result if isinstance(result, str) else json.dumps(result, default=str)
        return Answer(role="tool", content=content, tool_call_id=wanted.id)


async def _all_of(work: Sequence[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """All at once, their answers in order; where one breaks the others are cancelled, for what it
    raises is no observation."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _options(method: Callable[..., Any]) -> ToolOptions:
    options: ToolOptions = getattr(method, "tool_options", ToolOptions())
    return options


def parse_calls(text: str) -> list[ToolCall]:
    """The calls of a text in the Hermes form, in order; a malformed one says what is wrong with it.

    Example:
        parse_calls('<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    """
    found = []
    for number, match in enumerate(CALL.finditer(text)):
        name, arguments, error = "", "", ""
        try:
            wanted = strict_json(match[1]) if match[2] else None
        except (ValueError, RecursionError) as wrong:
            wanted, error = None, f"the call is not JSON ({str(wrong)[:100]}); "
        if not match[2]:
            error = "the call is not closed: </tool_call> is missing"
        elif not isinstance(wanted, dict) or not isinstance(wanted.get("name"), str):
            error += f"a call is written {FORM}"
        else:
            name, arguments = wanted["name"], json.dumps(wanted.get("arguments", {}))
            if not is_text(wanted):
                name, arguments, error = "", "", HALVES
        found.append(ToolCall(id=f"call_{number}", name=name, arguments=arguments, error=error))
    return found


def spoken(text: str, turn: int) -> Message:
    """A policy's turn in the Hermes form, as an episode sees it; the ids of its calls are its own.

    Args:
        text: all that it says, thoughts and calls included.
        turn: number of the turn.
    """
    reasoning, rest = parted(text)
    calls = tuple(
        replace(made, id=f"call{turn:03d}{number:02d}")
        for number, made in enumerate(parse_calls(rest))
    )
    return Message(
        role="assistant",
        content=CALL.sub("", rest) if calls else rest,
        reasoning=reasoning,
        tool_calls=calls,
        is_sampled=True,
        raw=text,
    )


def is_text(value: Any) -> bool:
    """Whether a value out of JSON holds no half of a surrogate pair, which nobody can write."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def strict_json(text: str) -> Any:
    """A value out of JSON that holds neither NaN nor Infinity.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deep.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def _error(call_id: str, text: str) -> Answer:
    return Answer(role="tool", content=f"Error: {text}", tool_call_id=call_id, error=text)


_types: WeakKeyDictionary[Any, type[BaseModel]] = WeakKeyDictionary()
"""Of the arguments of tools that were asked for, by function: making one takes milliseconds."""


def _arguments(method: Callable[..., Any]) -> type[BaseModel]:
    """What the model may pass, as a type that checks it."""
    function = getattr(method, "__func__", method)
    if function not in _types:
        _types[function] = _type_of_arguments(method)
    return _types[function]


def _type_of_arguments(method: Callable[..., Any]) -> type[BaseModel]:
    hints = get_type_hints(method, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        if name in NOT_ARGUMENTS:
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[name] = (hints.get(name, Any), default)
    name = getattr(method, "__name__", "tool")
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def _schema(name: str, method: Callable[..., Any]) -> dict[str, Any]:
    parameters = _arguments(method).model_json_schema()
    parameters.pop("title", None)
    for field in parameters.get("properties", {}).values():
        field.pop("title", None)
    description = inspect.getdoc(method) or ""
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}
