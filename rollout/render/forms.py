"""Messages as a chat template gets them, and with marks in place of what must not go through it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

from munro.envs.types import Message

Form = dict[str, Any]
"""A message as a template gets it."""
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
    messages: Sequence[Message], observations: Sequence[Message], calls: Calls, template: str = ""
) -> tuple[list[Form], str]:
    """The conversation with a mark in place of every policy turn, and the last mark.

    Where all calls are shown, the last turn's mark stands inside of its calls.

    What the policy wrote must not go through the template: a template may trim it, or drop the
    reasoning of earlier turns, while the stream keeps what was really sampled.
    """
    everything = "".join(message.text for message in (*messages, *observations))
    stem = "POLICYTURN"
    while stem in everything:
        stem += "X"
    forms = [form_of(message, template) for message in (*messages, *observations)]
    mark = ""
    for place, message in enumerate(messages):
        is_last = place + 1 == len(messages)
        if (
            message.tool_calls
            and calls is not Calls.NONE
            and not (is_last and calls is calls.EARLIER)
        ):
            forms[place].pop("reasoning_content", None)
            forms[place].pop("thinking", None)
            forms[place]["content"] = ""
            if is_last:
                mark = f"{stem}{place}END"
                forms[place]["tool_calls"] = [
                    call | {"function": {**call["function"], "arguments": {"turn": mark}}}
                    for call in forms[place]["tool_calls"]
                ]
        elif message.role == "assistant" and (message.is_sampled or not message.tool_calls):
            mark = f"{stem}{place}END"
            forms[place] = {"role": "assistant", "content": mark}
    return forms, mark


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
