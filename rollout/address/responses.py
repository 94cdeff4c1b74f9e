"""The same turn in the shape of /v1/responses: a list of items in, a list of items out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from munro.envs.types import Message, ToolCall
from munro.rollout.address.asked import (
    Asked,
    Json,
    length_of,
    message_of,
    overruled_in,
    refuse_unknown,
    text_of,
    tools_of,
)
from munro.rollout.address.errors import wrong
from munro.rollout.address.http import Reply
from munro.rollout.address.session import Told
from munro.rollout.address.told import events


class Threads:
    """What `previous_response_id` stands for, in one attempt."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[Message, ...]] = {}

    def keep(self, told: Told, messages: Sequence[Message]) -> None:
        """What was asked and told, but for the instructions."""
        self._said[name_of(told)] = (*messages, told.message)

    def asked(self, body: Json, model: str) -> tuple[Asked, tuple[Message, ...]]:
        """The request; and its messages, without the instructions.

        Raises:
            Refused: it asks for what cannot be had, or is none.
        """
        refuse_unknown(body, model)
        before: tuple[Message, ...] = ()
        previous = body.get("previous_response_id")
        if previous is not None:
            if previous not in self._said:
                raise wrong(
                    f"there is no response {previous!r:.60} of this attempt",
                    "previous_response_id",
                    "previous_response_not_found",
                )
            before = self._said[previous]
        messages = (*before, *_messages(body.get("input")))
        told = text_of(body.get("instructions"), "instructions")
        opening = (Message(role="system", content=told),) if told else ()
        asked = Asked(
            messages=(*opening, *messages),
            tools=tools_of(body),
            max_tokens=length_of(body, "max_output_tokens"),
            overruled=overruled_in(body),
            streams=body.get("stream") is True,
        )
        return asked, messages


def name_of(told: Told) -> str:
    """A response's id."""
    return f"resp_{told.number}"


def responses(told: Told, asked: Asked, model: str) -> Reply:
    """The answer to a request to /v1/responses.

    Args:
        told: the turn.
        asked: what it answers.
        model: as it calls itself.
    """
    items = list(_items(told))
    body = {
        "id": name_of(told),
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if told.is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if told.is_cut else None,
        "error": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": items,
        "parallel_tool_calls": True,
        "temperature": None,
        "top_p": None,
        "tool_choice": "auto",
        "tools": [{"type": "function", **tool["function"]} for tool in asked.tools],
        "usage": {
            "input_tokens": told.num_prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": told.num_sampled,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": told.num_prompt + told.num_sampled,
        },
        "munro": {"overruled": list(asked.overruled)},
    }
    if not asked.streams:
        return Reply.json(200, body)
    parts = []
    for number, (kind, data) in enumerate(_told_bit_by_bit(body, items)):
        parts.append((kind, {"type": kind, "sequence_number": number, **data}))
    return events(parts, done=False)


def _messages(given: Any) -> tuple[Message, ...]:
    if isinstance(given, str):
        return (Message(role="user", content=text_of(given, "input")),)
    if not isinstance(given, list) or not given:
        raise wrong("input must be a text, or a list of at least one item", "input")
    messages: list[Message] = []
    thought = ""
    for at, item in enumerate(given):
        where = f"input[{at}]"
        kind = item.get("type", "message") if isinstance(item, Mapping) else None
        if kind == "reasoning":
            parts = item.get("content") or item.get("summary") or ()
            texts = (part.get("text") for part in parts if isinstance(part, Mapping))
            thought = "\n".join(text_of(text, where) for text in texts)
        elif kind == "message":
            message = message_of(item, where)
            if message.role == "assistant":
                message, thought = replace(message, reasoning=thought), ""
            messages.append(message)
        elif kind == "function_call":
            made = message_of(
                {
                    "role": "assistant",
                    "tool_calls": [{"id": item.get("call_id"), "function": item}],
                },
                where,
            )
            _join(messages, made.tool_calls, thought)
            thought = ""
        elif kind == "function_call_output":
            answer = text_of(item.get("output"), where)
            call_id = text_of(item.get("call_id"), where)
            messages.append(Message(role="tool", content=answer, tool_call_id=call_id))
        else:
            raise wrong(f"{where} is {kind!r:.40}, which is not to be had", where)
    return tuple(messages)


def _join(messages: list[Message], calls: tuple[ToolCall, ...], thought: str) -> None:
    """Calls belong to the turn of the assistant that is being told."""
    if messages and messages[-1].role == "assistant":
        last = messages[-1]
        messages[-1] = replace(last, tool_calls=(*last.tool_calls, *calls))
    else:
        messages.append(Message(role="assistant", content="", tool_calls=calls, reasoning=thought))


def _items(told: Told) -> Iterator[dict[str, Any]]:
    message, number = told.message, told.number
    status = "incomplete" if told.is_cut else "completed"
    if message.reasoning:
        thought = {"type": "reasoning_text", "text": message.reasoning}
        yield {"id": f"rs_{number}", "type": "reasoning", "summary": [], "content": [thought]}
    if message.content or not message.tool_calls:
        text = {"type": "output_text", "text": message.content, "annotations": []}
        yield {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [text],
        }
    for at, call in enumerate(message.tool_calls):
        yield {
            "id": f"fc_{number}_{at}",
            "type": "function_call",
            "status": status,
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }


def _told_bit_by_bit(
    body: dict[str, Any], items: Sequence[dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    begun = {**body, "status": "in_progress", "output": [], "usage": None}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for at, item in enumerate(items):
        where = {"output_index": at, "item_id": item["id"]}
        opened = {**item, "status": "in_progress"} if "status" in item else item
        yield "response.output_item.added", {"output_index": at, "item": opened}
        if item["type"] == "message":
            (part,) = item["content"]
            place = {**where, "content_index": 0}
            yield "response.content_part.added", {**place, "part": {**part, "text": ""}}
            text: dict[str, Any] = {"logprobs": []}
            yield "response.output_text.delta", {**place, "delta": part["text"], **text}
            yield "response.output_text.done", {**place, "text": part["text"], **text}
            yield "response.content_part.done", {**place, "part": part}
        elif item["type"] == "function_call":
            arguments = item["arguments"]
            yield "response.function_call_arguments.delta", {**where, "delta": arguments}
            done = {"arguments": arguments, "name": item["name"]}
            yield "response.function_call_arguments.done", {**where, **done}
        yield "response.output_item.done", {"output_index": at, "item": item}
    last = "response.incomplete" if body["incomplete_details"] else "response.completed"
    yield last, {"response": body}
