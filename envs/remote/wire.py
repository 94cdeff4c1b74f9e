"""What crosses the line to a side, as JSON: our records there, hostile text back.

Nothing that comes back is believed before it was looked at: types, sizes, numbers that are none,
halves of surrogate pairs. Whatever is wrong is a `BadAnswer`, in one line.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from munro.envs.base import Over
from munro.envs.budget import Budget
from munro.envs.types import Answer, Message, Task, ToolCall, Trajectory
from munro.rewards.types import Grade

ROLES = ("system", "user", "assistant", "tool")
MOST_OBSERVATIONS = 1000
"""Messages of one turn."""
MOST_PARTS = 1000
"""Named figures of a grade."""


class BadSide(ValueError):
    """The other side cannot be used as it was asked for, or answers what nobody can use."""

    is_sentence = True


class BadAnswer(ValueError):
    """What a side said is no answer; the message says why."""


def parsed(line: bytes) -> dict[str, Any]:
    """A line as an object of JSON that any other program may read.

    Raises:
        BadAnswer: it is none.
    """
    try:
        value = json.loads(line.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"it is no JSON ({str(error)[:100]})") from error
    if not isinstance(value, dict):
        raise BadAnswer("it is no object")
    whole: dict[str, Any] = _cleaned(value) if b"\\u" in line else value
    return whole


def _refuse(constant: str) -> Any:
    raise BadAnswer(f"{constant} is no number")


def _cleaned(value: Any) -> Any:
    """The same without halves of surrogate pairs, which no store and no tokenizer takes."""
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case list():
            return [_cleaned(one) for one in value]
        case dict():
            return {_cleaned(key): _cleaned(one) for key, one in value.items()}
    return value


def of(value: Any, kinds: type | tuple[type, ...], what: str) -> Any:
    """The value, if it is what it must be.

    Raises:
        BadAnswer: it is something else, true for a number included.
    """
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        names = " or ".join(_NAMES.get(kind, kind.__name__) for kind in wanted)
        raise BadAnswer(f"{what} is {value!r:.60}, and must be {names}")
    return value


_NAMES: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def number_of(value: Any, what: str) -> float:
    """A finite number that a float can hold.

    Raises:
        BadAnswer: it is none.
    """
    of(value, (int, float), what)
    if not abs(value) <= sys.float_info.max:
        raise BadAnswer(f"{what} is {value!s:.40}: it must be finite")
    return float(value)


# there


def message_data(message: Message) -> dict[str, Any]:
    """A message as an object: role and content always, the rest where there is any."""
    data: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        data["tool_calls"] = [asdict(call) for call in message.tool_calls]
    for name in ("tool_call_id", "reasoning", "raw", "is_sampled"):
        if value := getattr(message, name):
            data[name] = value
    return data


def task_data(task: Task) -> dict[str, Any]:
    """A task as an object.

    Raises:
        ValueError: it holds what JSON cannot say.
    """
    data = {
        "id": task.id,
        "messages": [message_data(message) for message in task.messages],
        "tools": list(task.tools),
        "payload": dict(task.payload),
        "labels": dict(task.labels),
    }
    if task.budget is not None:
        data["budget"] = task.budget.model_dump(exclude_none=True)
    try:
        json.dumps(data, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"task {task.id!r:.60} cannot go to another process, for JSON cannot say it ({error})"
        ) from error
    return data


def trajectory_data(trajectory: Trajectory, *, tokens: bool) -> dict[str, Any]:
    """What a side grades.

    Args:
        trajectory: that was played.
        tokens: send also what the tokens were; never their candidates or experts.
    """
    data: dict[str, Any] = {
        "reply": trajectory.reply,
        "ending": trajectory.ending.value,
        "messages": [message_data(message) for message in trajectory.messages],
        "calls": [asdict(call) for call in trajectory.calls],
        "num_sampled": trajectory.num_sampled,
    }
    if tokens:
        data["arrays"] = {
            name: base64.b64encode(getattr(trajectory, name).astype(kind).tobytes()).decode()
            for name, kind in ARRAYS.items()
        }
    return data


ARRAYS = {"token_ids": "int32", "sampled": "bool", "behaviour_logp": "float32", "versions": "int32"}
"""Of a trajectory, that cross the line, and what each entry is."""


# back


def message_of(given: Any, what: str) -> Message:
    """A message that a side said; an `Answer` where it answers a call.

    Raises:
        BadAnswer: it is none.
    """
    of(given, dict, what)
    role = of(given.get("role", "user"), str, f"{what}.role")
    if role not in ROLES:
        raise BadAnswer(f"{what}.role is {role!r:.40}: it is one of {', '.join(ROLES)}")
    content = of(given.get("content", ""), str, f"{what}.content")
    calls = tuple(
        _call_of(call, f"{what}.tool_calls[{number}]")
        for number, call in enumerate(of(given.get("tool_calls") or [], list, f"{what}.tool_calls"))
    )
    texts = {
        name: of(given.get(name) or "", str, f"{what}.{name}")
        for name in ("tool_call_id", "error", "reasoning", "raw")
    }
    call_id, error = texts["tool_call_id"], texts["error"]
    if role == "tool" and call_id:
        seconds = number_of(given.get("seconds", 0.0), f"{what}.seconds")
        return Answer(
            role=role, content=content, tool_call_id=call_id, error=error, seconds=seconds
        )
    return Message(
        role=role,
        content=content,
        tool_calls=calls,
        tool_call_id=call_id,
        reasoning=texts["reasoning"],
        raw=texts["raw"],
        is_sampled=of(given.get("is_sampled", False), bool, f"{what}.is_sampled"),
    )


def _call_of(given: Any, what: str) -> ToolCall:
    of(given, dict, what)
    arguments = given.get("arguments", "{}")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments)
    return ToolCall(
        id=of(given.get("id", ""), str, f"{what}.id"),
        name=of(given.get("name", ""), str, f"{what}.name"),
        arguments=of(arguments, str, f"{what}.arguments"),
        error=of(given.get("error") or "", str, f"{what}.error"),
    )


def task_of(given: Any, what: str) -> Task:
    """A task that a side offers.

    Raises:
        BadAnswer: it is none.
    """
    of(given, dict, what)
    task_id = of(given.get("id"), str, f"{what}.id")
    messages = of(given.get("messages") or [], list, f"{what}.messages")
    if not messages:
        messages = [{"role": "user", "content": of(given.get("prompt"), str, f"{what}.prompt")}]
    labels = of(given.get("labels") or {}, dict, f"{what}.labels")
    budget = given.get("budget")
    return Task(
        id=task_id,
        messages=tuple(message_of(m, f"{what}.messages[{n}]") for n, m in enumerate(messages)),
        tools=tools_of(given.get("tools") or [], f"{what}.tools"),
        payload=of(given.get("payload") or {}, dict, f"{what}.payload"),
        labels={name: of(value, str, f"{what}.labels.{name}") for name, value in labels.items()},
        budget=None if budget is None else budget_of(budget, f"{what}.budget"),
    )


def tools_of(given: Any, what: str) -> tuple[Mapping[str, Any], ...]:
    """JSON schemas in the OpenAI shape.

    Raises:
        BadAnswer: they are none.
    """
    for number, tool in enumerate(of(given, list, what)):
        function = of(tool, dict, f"{what}[{number}]").get("function")
        of(function, dict, f"{what}[{number}].function")
        of(function.get("name"), str, f"{what}[{number}].function.name")
        of(function.get("parameters", {}), dict, f"{what}[{number}].function.parameters")
    return tuple(given)


def budget_of(given: Any, what: str) -> Budget:
    """What an episode may spend.

    Raises:
        BadAnswer: it is no budget.
    """
    try:
        return Budget.model_validate(of(given, dict, what))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join([what, *map(str, first["loc"])])
        raise BadAnswer(f"{where}: {first['msg']}") from error


def observations_of(given: Mapping[str, Any]) -> Sequence[Message] | None:
    """What came of a turn, as `Episode.reply` gives it.

    Raises:
        BadAnswer: it is no such thing.
    """
    said = given.get("observations")
    if said is None:
        return None
    of(said, list, "observations")
    if len(said) > MOST_OBSERVATIONS:
        raise BadAnswer(f"{len(said)} observations in one turn")
    messages = [message_of(one, f"observations[{number}]") for number, one in enumerate(said)]
    if any(message.role == "assistant" for message in messages):
        raise BadAnswer("an observation has the role of the policy")
    return Over(messages) if of(given.get("over", False), bool, "over") else messages


def grade_of(given: Mapping[str, Any]) -> Grade:
    """A side's grade.

    Raises:
        BadAnswer: it is none.
    """
    if "reward" not in given:
        raise BadAnswer("the grade has no reward")
    passed = of(given.get("passed"), (bool, type(None)), "passed")
    parts = of(given.get("parts") or {}, dict, "parts")
    if len(parts) > MOST_PARTS:
        raise BadAnswer(f"{len(parts)} parts of a grade")
    return Grade(
        reward=number_of(given["reward"], "reward"),
        passed=passed,
        parts={name: number_of(value, f"parts.{name:.40}") for name, value in parts.items()},
        reason=of(given.get("reason") or "", str, "reason")[:1000],
    )


def bytes_of(given: Any, what: str) -> bytes | None:
    """Bytes out of base64, or None.

    Raises:
        BadAnswer: it is something else.
    """
    if given is None:
        return None
    try:
        return base64.b64decode(of(given, str, what), validate=True)
    except ValueError as error:
        raise BadAnswer(f"{what} is no base64") from error
