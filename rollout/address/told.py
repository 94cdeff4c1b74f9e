"""A turn in the shape of /v1/chat/completions, whole or as a stream of events."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from munro.envs.types import ToolCall
from munro.rollout.address.asked import Asked
from munro.rollout.address.http import Reply
from munro.rollout.address.session import Told

Json = dict[str, Any]


def chat(told: Told, asked: Asked, model: str) -> Reply:
    """The answer to a chat request.

    Args:
        told: the turn.
        asked: what it answers.
        model: as it calls itself.
    """
    head = {"id": f"chatcmpl-{told.number}", "created": int(time.time()), "model": model}
    head["system_fingerprint"] = f"version-{told.version}"
    message = told.message
    said: Json = {"role": "assistant", "content": message.content}
    if message.reasoning:
        said["reasoning_content"] = message.reasoning
    if message.tool_calls:
        said["content"] = message.content or None
        said["tool_calls"] = [_call(call) for call in message.tool_calls]
    finish = "length" if told.is_cut else "tool_calls" if message.tool_calls else "stop"
    if asked.streams:
        return _streamed(head, said, finish, _usage(told) if asked.tells_usage else None)
    choice = {"index": 0, "message": said, "finish_reason": finish, "logprobs": None}
    body = {"object": "chat.completion", **head, "choices": [choice], "usage": _usage(told)}
    return Reply.json(200, {**body, "munro": {"overruled": list(asked.overruled)}})


def events(parts: Sequence[tuple[str, Json] | Json], *, done: bool) -> Reply:
    """Server-sent events, all at once: the turn was sampled whole.

    Args:
        parts: data, with the event's name where it has one.
        done: end as chat streams do.
    """
    lines = []
    for part in parts:
        name, data = part if isinstance(part, tuple) else ("", part)
        lines.append((f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n")
    if done:
        lines.append("data: [DONE]\n\n")
    return Reply(200, "".join(lines).encode(), "text/event-stream")


def _streamed(head: Json, said: Json, finish: str, usage: Json | None) -> Reply:
    head = {"object": "chat.completion.chunk", **head}
    delta = dict(said)
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": at, **call} for at, call in enumerate(delta["tool_calls"])]
    parts: list[tuple[str, Json] | Json] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
    ]
    if usage is not None:
        parts.append({**head, "choices": [], "usage": usage})
    return events(parts, done=True)


def _call(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _usage(told: Told) -> Json:
    return {
        "prompt_tokens": told.num_prompt,
        "completion_tokens": told.num_sampled,
        "total_tokens": told.num_prompt + told.num_sampled,
    }
