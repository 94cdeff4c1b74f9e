"""What was said to an agent so far, and which of it a request goes on from.

    messages  s u            a1       t u          a2
    links     h1 h2          h3       h4 h5        h6      each of all before it, tools included
    answers                  h3 ──────────────────── h6    the last token of each, and its messages

A message of the policy's is known again by what the agent was told: its text, but for white space
around it, and its calls. A thought that the agent leaves out, as most do, was said all the same;
the template decides whether it is shown again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import Message

Tools = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A turn of the policy, as it can be gone on from."""

    messages: tuple[Message, ...]
    """All of the conversation, this turn last; the policy's own turns as they were sampled."""
    turns: Mapping[int, NDArray[np.int32]]
    """What was sampled, by the place of its message."""
    place: int
    """Of the turn's last token."""
    number: int
    """Of the turn in the attempt."""
    at: float
    """When it was told, in seconds."""
    is_cut: bool
    """No token of the policy's ended it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """What a request goes on from."""

    answer: Answer | None
    """None where it begins anew."""
    messages: tuple[Message, ...]
    """All of the request's; of the answer's part, its own."""
    num_known: int
    """Of these, how many the answer had."""
    unseen: int
    """Place of the first that no request held before."""


class Memory:
    """The answers of one attempt, by what was said up to each."""

    def __init__(self) -> None:
        self._answers: dict[bytes, Answer] = {}
        self._seen: set[bytes] = set()

    def going_on(self, messages: Sequence[Message], tools: Tools) -> Going:
        """Find the longest beginning that an answer ended."""
        links = _links(messages, tools)
        unseen = next(
            (at for at, link in enumerate(links) if link not in self._seen), len(messages)
        )
        for place in reversed(range(len(messages))):
            answer = self._answers.get(links[place])
            if answer is not None and _thinks_alike(messages, answer):
                rest = messages[place + 1 :]
                return Going(
                    answer=answer,
                    messages=(*answer.messages, *rest),
                    num_known=place + 1,
                    unseen=unseen,
                )
        return Going(answer=None, messages=tuple(messages), num_known=0, unseen=unseen)

    def keep(self, answer: Answer, tools: Tools) -> None:
        """It may be gone on from, from now on."""
        links = _links(answer.messages, tools)
        self._seen.update(links)
        self._answers[links[-1]] = answer


def _links(messages: Sequence[Message], tools: Tools) -> list[bytes]:
    """Of each message a digest of it and of all before it."""
    link = _digest(b"", [dict(tool) for tool in tools])
    links = []
    for message in messages:
        link = _digest(link, _told(message))
        links.append(link)
    return links


def _told(message: Message) -> list[Any]:
    if message.role != "assistant":
        return [message.role, message.content, message.tool_call_id]
    calls = [[call.id, call.name, _plain(call.arguments)] for call in message.tool_calls]
    return [message.role, message.content.strip(), calls]


def _plain(arguments: str) -> Any:
    """Arguments whatever white space their JSON has."""
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def _digest(link: bytes, said: Any) -> bytes:
    text = json.dumps(said, sort_keys=True).encode()
    return hashlib.blake2b(link + text, digest_size=16).digest()


def _thinks_alike(messages: Sequence[Message], answer: Answer) -> bool:
    """No thought was given back otherwise than it was."""
    return all(
        not messages[place].reasoning
        or messages[place].reasoning.strip() == answer.messages[place].reasoning.strip()
        for place in answer.turns
    )
