"""Templates of raw text, for base models: nothing in them but text marks a turn.

Who speaks is said in plain words here, so a document that says "User:" reads as it would to a
person. Only the tokenizer's own special tokens are kept from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from munro.envs.types import Message
from munro.rollout.render.base import Renderer

PREAMBLE = (
    "Below, a User puts a question to an Assistant, and the Assistant solves it. Before it "
    "answers, the Assistant reasons step by step. The reasoning stands between <think> and "
    "</think>, and the final answer between <answer> and </answer>, like this: "
    "<think> the reasoning </think> <answer> the answer </answer>\n\n"
)
SPEAKERS = {"user": "User", "assistant": "Assistant", "tool": "Tool"}


class R1Zero(Renderer):
    """Raw text for a base model: a preamble, the question, and an opening <think>."""

    def opening(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """See `Renderer.opening`."""
        system = [message.content for message in messages if message.role == "system"]
        if tools:
            system.append("Tools, as JSON schemas:\n" + json.dumps([dict(t) for t in tools]))
        said = [message for message in messages if message.role != "system"]
        asked = "".join(text + "\n\n" for text in system) + _spoken(said)
        mark = self._inert.mark([asked])
        asked = self._inert.broken(asked, mark)
        return self._encode_start(PREAMBLE + asked + "Assistant: <think>", mark)

    def observed(
        self,
        messages: Sequence[Message],  # noqa: ARG002
        observations: Sequence[Message],
        *,
        last_token: int,  # noqa: ARG002
        tools: Sequence[Mapping[str, Any]] = (),  # noqa: ARG002
    ) -> list[int]:
        """See `Renderer.observed`."""
        seen = _spoken(observations)
        mark = self._inert.mark([seen])
        return self._encode("\n" + self._inert.broken(seen, mark) + "Assistant: <think>", mark)


class Plain(Renderer):
    """The text of the messages and a line break; tools are left to the messages' own text."""

    def opening(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),  # noqa: ARG002
    ) -> list[int]:
        """See `Renderer.opening`."""
        asked = "\n".join(message.content for message in messages) + "\n"
        mark = self._inert.mark([asked])
        return self._encode_start(self._inert.broken(asked, mark), mark)

    def observed(
        self,
        messages: Sequence[Message],  # noqa: ARG002
        observations: Sequence[Message],
        *,
        last_token: int,  # noqa: ARG002
        tools: Sequence[Mapping[str, Any]] = (),  # noqa: ARG002
    ) -> list[int]:
        """See `Renderer.observed`."""
        seen = "\n" + "\n".join(message.content for message in observations) + "\n"
        mark = self._inert.mark([seen])
        return self._encode(self._inert.broken(seen, mark), mark)


def _spoken(messages: Sequence[Message]) -> str:
    return "".join(
        f"{SPEAKERS.get(message.role, message.role.capitalize())}: {message.content}\n"
        for message in messages
    )
