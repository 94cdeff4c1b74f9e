"""How a conversation becomes tokens, and tokens become text again.

Append-only (report, section 3.3): an episode's stream only ever grows, so a later turn adds what
the template puts *after* the policy's own tokens, and those are never tokenised again.

    chat      the tokenizer's own chat template, tools included
    r1_zero   raw text: reason inside <think></think>, answer inside <answer></answer> (Fig. 14)
    plain     the messages' text, one after the other, and nothing else
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import Message

PREAMBLE = (
    "Below, a User puts a question to an Assistant, and the Assistant solves it. Before it "
    "answers, the Assistant reasons step by step. The reasoning stands between <think> and "
    "</think>, and the final answer between <answer> and </answer>, like this: "
    "<think> the reasoning </think> <answer> the answer </answer>\n\n"
)


class Renderer(ABC):
    """One template on one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        eos = tokenizer.eos_token_id
        self.stop_token_ids: tuple[int, ...] = () if eos is None else (eos,)
        """Tokens that end a policy turn."""

    @abstractmethod
    def opening(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """Tokens of the prompt, up to where the policy starts to write."""

    @abstractmethod
    def observed(
        self,
        messages: Sequence[Message],
        observations: Sequence[Message],
        *,
        last_token: int,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int]:
        """Tokens between the policy's turn and its next one.

        Args:
            messages: everything so far, the policy's turn last.
            observations: what it sees next.
            last_token: the last token of the policy's turn, so that a turn that ended by an
                end-of-turn token does not get a second one.
            tools: as given to `opening`.
        """

    def text(self, token_ids: Sequence[int] | NDArray[np.int32]) -> str:
        """What the policy wrote in one turn, without the token that ended it."""
        ids = [int(token) for token in token_ids]
        if ids and ids[-1] in self.stop_token_ids:
            ids.pop()
        decoded: str = self._tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return decoded

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _encode_start(self, text: str) -> list[int]:
        """With what the tokenizer puts before a text (often a BOS), without what it puts after."""
        ids: list[int] = self._tokenizer.encode(text)
        while ids and ids[-1] in self.stop_token_ids:
            ids.pop()
        return ids


class Chat(Renderer):
    """The tokenizer's chat template.

    Raises:
        ValueError: the tokenizer has none; or, at a second turn, the template rewrites earlier
            turns, so that no stream could be append-only.
    """

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer)
        if not tokenizer.chat_template:
            raise ValueError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no chat template, which "
                'rollout.template = "chat" needs. Set rollout.template = "r1_zero" (a base model '
                'that shall reason) or "plain", or give the tokenizer a chat template.'
            )
        end = self._end_of_turn()
        if end is not None and end not in self.stop_token_ids:
            self.stop_token_ids = (*self.stop_token_ids, end)

    def opening(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """See `Renderer.opening`."""
        return self._encode(self._render([_chat_form(message) for message in messages], tools))

    def observed(
        self,
        messages: Sequence[Message],
        observations: Sequence[Message],
        *,
        last_token: int,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int]:
        """See `Renderer.observed`."""
        marked, mark = self._marked(messages, observations)
        earlier = self._render(marked[: len(messages) - 1], tools)
        later = self._render(marked, tools)
        if not later.startswith(earlier) or mark not in later[len(earlier) :]:
            raise ValueError(
                f"the chat template of {self._tokenizer.name_or_path!r} rewrites earlier turns "
                "when a later one is added, so a conversation cannot be one growing token stream. "
                "Use an append-only template, set rollout.max_turns = 1, or choose another "
                "rollout.template."
            )
        ids = self._encode(later[later.rindex(mark) + len(mark) :])
        return ids[1:] if ids and ids[0] == last_token else ids

    def _marked(
        self, messages: Sequence[Message], observations: Sequence[Message]
    ) -> tuple[list[dict[str, Any]], str]:
        """The conversation with a mark in place of every policy turn, and the last mark.

        What the policy wrote must not go through the template: a template may trim it, or drop the
        reasoning of earlier turns, while the stream keeps what was really sampled.
        """
        everything = "".join(message.content for message in (*messages, *observations))
        stem = "POLICYTURN"
        while stem in everything:
            stem += "X"
        marked = [_chat_form(message) for message in (*messages, *observations)]
        mark = ""
        for place, message in enumerate(messages):
            if message.role == "assistant" and not message.tool_calls:
                mark = f"{stem}{place}END"
                marked[place] = {"role": "assistant", "content": mark}
        return marked, mark

    def _render(
        self, messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]], start: bool = True
    ) -> str:
        text: str = self._tokenizer.apply_chat_template(
            messages,
            tools=[dict(tool) for tool in tools] or None,
            add_generation_prompt=start,
            tokenize=False,
        )
        return text

    def _end_of_turn(self) -> int | None:
        """The special token that the template puts right after a policy turn."""
        mark = "POLICYTURN"
        turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": mark}]
        text = self._render(turns, (), start=False)
        after = self._encode(text[text.rindex(mark) + len(mark) :]) if mark in text else []
        special = set(self._tokenizer.all_special_ids) | set(self._tokenizer.added_tokens_decoder)
        return after[0] if after and after[0] in special else None


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
        head = "".join(text + "\n\n" for text in system)
        return self._encode_start(PREAMBLE + head + _spoken(said) + "Assistant: <think>")

    def observed(
        self,
        messages: Sequence[Message],  # noqa: ARG002
        observations: Sequence[Message],
        *,
        last_token: int,  # noqa: ARG002
        tools: Sequence[Mapping[str, Any]] = (),  # noqa: ARG002
    ) -> list[int]:
        """See `Renderer.observed`."""
        return self._encode("\n" + _spoken(observations) + "Assistant: <think>")


class Plain(Renderer):
    """The text of the messages and a line break; tools are left to the messages' own text."""

    def opening(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),  # noqa: ARG002
    ) -> list[int]:
        """See `Renderer.opening`."""
        return self._encode_start("\n".join(message.content for message in messages) + "\n")

    def observed(
        self,
        messages: Sequence[Message],  # noqa: ARG002
        observations: Sequence[Message],
        *,
        last_token: int,  # noqa: ARG002
        tools: Sequence[Mapping[str, Any]] = (),  # noqa: ARG002
    ) -> list[int]:
        """See `Renderer.observed`."""
        return self._encode("\n" + "\n".join(seen.content for seen in observations) + "\n")


def renderer(tokenizer: Any, template: Literal["chat", "r1_zero", "plain"]) -> Renderer:
    """The renderer of `rollout.template`.

    Args:
        tokenizer: a Hugging Face tokenizer.
        template: as in the config.

    Raises:
        ValueError: the tokenizer lacks what the template needs.
    """
    kinds: dict[str, type[Renderer]] = {"chat": Chat, "r1_zero": R1Zero, "plain": Plain}
    return kinds[template](tokenizer)


SPEAKERS = {"user": "User", "assistant": "Assistant", "tool": "Tool"}


def _spoken(messages: Sequence[Message]) -> str:
    return "".join(
        f"{SPEAKERS.get(message.role, message.role.capitalize())}: {message.content}\n"
        for message in messages
    )


def _chat_form(message: Message) -> dict[str, Any]:
    form: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        form["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        form["tool_call_id"] = message.tool_call_id
    return form


def _arguments(text: str) -> Any:
    """Templates want arguments as an object; what does not parse is shown as it was written."""
    try:
        return json.loads(text)
    except ValueError:
        return text
