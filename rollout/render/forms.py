"""Messages as a chat template gets them, and with marks in place of what must not go through it."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Sequence
from enum import Enum
from typing import Any

from munro.envs.types import Message

Form = dict[str, Any]
"""A message as a template gets it."""
END = "END"
"""Ends the words that stand for turns."""
# where gpt-oss looks for what a turn thought; others look for `reasoning_content`
THINKING = re.compile(r"""\.thinking\b|["']thinking["']""")


class Calls(Enum):
    """Which turns of the policy are shown as ones that called tools."""

    NONE = 0
    EARLIER = 1
    ALL = 2


def form_of(message: Message, template: str = "") -> Form:
    """The message in the OpenAI shape, arguments as objects.

    Args:
        message: any.
        template: the chat template, for where it looks for thoughts.
    """
    form: Form = {"role": message.role, "content": message.content}
    if message.reasoning:
        form["reasoning_content"] = message.reasoning
        if THINKING.search(template):
            form["thinking"] = message.reasoning
    if message.tool_calls:
        form["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name or "unreadable",
                    "arguments": _arguments(call.arguments or "{}"),
                },
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        form["tool_call_id"] = message.tool_call_id
    return form


def with_text_arguments(forms: Sequence[Form]) -> list[Form]:
    """The same messages, arguments as texts of JSON: what DeepSeek's templates put together."""
    texts = []
    for form in forms:
        calls = [
            call | {"function": {**call["function"], "arguments": _text(call["function"])}}
            for call in form.get("tool_calls", ())
        ]
        texts.append(form | {"tool_calls": calls} if calls else form)
    return texts


def marked(
    messages: Sequence[Message],
    observations: Sequence[Message],
    calls: Calls,
    turns: Container[int] | None = None,
    template: str = "",
) -> tuple[list[Form], dict[int, str]]:
    """The conversation with a word in place of every policy turn, and the words by place.

    Where all calls are shown, the last turn's word stands inside of its calls.

    Which turns are the policy's is told by `turns`, or else by what they are like. What it wrote
    must not go through the template: a template may trim it, or take it for a token that means
    something, while the stream keeps what was really sampled.
    """
    everything = "".join(message.text for message in (*messages, *observations))
    stem = "POLICYTURN"
    while stem in everything:
        stem += "X"
    forms = [form_of(message, template) for message in (*messages, *observations)]
    words: dict[int, str] = {}
    for place, message in enumerate(messages):
        is_last = place + 1 == len(messages)
        is_told = turns is None and message.role == "assistant"
        if message.tool_calls and (calls is Calls.ALL or (calls is Calls.EARLIER and not is_last)):
            forms[place] = {key: forms[place][key] for key in ("role", "tool_calls")}
            forms[place]["content"] = ""
            if is_last:
                words[place] = f"{stem}{place}{END}"
                forms[place]["tool_calls"] = [
                    call | {"function": {**call["function"], "arguments": {"turn": words[place]}}}
                    for call in forms[place]["tool_calls"]
                ]
        elif (turns is not None and place in turns) or (
            is_told and (message.is_sampled or not message.tool_calls)
        ):
            words[place] = f"{stem}{place}{END}"
            forms[place] = {"role": "assistant", "content": words[place]}
    return forms, words


def kind_of(form: Form) -> tuple[Any, ...]:
    """What of a message decides whether a template shows it."""
    calls = min(len(form.get("tool_calls", ())), 2)
    return form["role"], bool(form["content"].strip()), calls, "reasoning_content" in form


def called(form: Form) -> str:
    """What a message is called, for a person."""
    return f"a message of role {form['role']!r}"


def probed(form: Form, word: str, words: dict[str, str]) -> Form:
    """The message with words in place of its texts; what each word stands for goes to `words`."""
    probe = dict(form)
    if form["content"].strip():
        probe["content"] = f"{word}TEXT"
        words[probe["content"]] = called(form)
    calls = [
        # some show a call's id, and its name only as part of that
        call
        | {
            "id": f"{word}CALL{number}NAME",
            "function": call["function"] | {"name": f"{word}CALL{number}NAME"},
        }
        for number, call in enumerate(form.get("tool_calls", ()))
    ]
    if calls:
        probe["tool_calls"] = calls
        what = f"the calls of {called(form)}"
        words.update({call["function"]["name"]: what for call in calls})
    return probe


def _text(function: Form) -> str:
    arguments = function["arguments"]
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _arguments(text: str) -> Any:
    """Most templates want arguments as an object; what does not parse is shown as written."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
