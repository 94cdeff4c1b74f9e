"""An attempt as graders read it: messages and calls as JSON can say them.

    transcript   [{role, content, tool_calls, tool_call_id, reasoning, given}, ...]
    calls        [{turn, id, name, arguments, ok, seconds, error}, ...], as `CallRecord` has them

`munro.rewards.trajectory` reads a transcript, in this shape or in that of the OpenAI API.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from munro.envs.types import Message, Task, Trajectory
from munro.rewards.language import visible


def transcript_of(task: Task, trajectory: Trajectory, *, thoughts: bool) -> list[dict[str, Any]]:
    """All of an attempt, from the opening to the last reply.

    Args:
        thoughts: show what the policy thought, as `reasoning`.
    """
    return [
        *({**each, "given": True} for each in as_data(task.messages, thoughts=thoughts)),
        *as_data(trajectory.messages, thoughts=thoughts),
    ]


def as_data(messages: Iterable[Message], *, thoughts: bool) -> list[dict[str, Any]]:
    """Messages with nothing but what they have."""
    return [_one(message, thoughts) for message in messages]


def calls_of(trajectory: Trajectory) -> list[dict[str, Any]]:
    """The record of an attempt's calls."""
    return [asdict(call) for call in trajectory.calls]


def said_before(task: Task, trajectory: Trajectory, *, thoughts: bool) -> list[dict[str, str]]:
    """All that was said before the reply that is graded, tools and earlier turns included."""
    ours = [at for at, one in enumerate(trajectory.messages) if one.role == "assistant"]
    before = trajectory.messages[: ours[-1]] if ours else ()
    said = []
    for message in (*task.messages, *before):
        is_policy = message.role == "assistant" and not thoughts
        content = visible(message.content) if is_policy else message.text
        calls = [f"[calls {call.name} with {call.arguments}]" for call in message.tool_calls]
        said.append({"role": message.role, "content": "\n".join(filter(None, [content, *calls]))})
    return said


def _one(message: Message, thoughts: bool) -> dict[str, Any]:
    is_policy = message.role == "assistant"
    content = visible(message.content) if is_policy and not thoughts else message.content
    found: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        found["tool_calls"] = [asdict(call) for call in message.tool_calls]
    if message.tool_call_id:
        found["tool_call_id"] = message.tool_call_id
    if thoughts and message.reasoning:
        found["reasoning"] = message.reasoning
    return found
