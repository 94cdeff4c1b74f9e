"""Chat templates in the forms that families publish, and conversations to show them.

`forms/*.jinja` are written for these tests from what is known of each form. What a family tells its
model of tools is taken from the package `renderers` where that has the family, so that tokens can
be compared with the package's; elsewhere a sentence of our own stands for it. The environment
variable MUNRO_PUBLISHED_TEMPLATES names a folder of published ones, FAMILY.jinja each, which are
then shown the same conversations.
"""

# ruff: noqa: RUF001 - the families' tokens as they were published

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from munro.base_model.model.tokenizer import train_tokenizer
from munro.envs.types import Message, ToolCall

FORMS = Path(__file__).with_name("forms")
CHATML = ("<|im_start|>", "<|im_end|>", "<tool_response>", "</tool_response>")
THINK = ("<think>", "</think>")
HERMES = (*CHATML, *THINK, "<tool_call>", "</tool_call>")


@dataclass(frozen=True, kw_only=True)
class Form:
    """What one family's template can show."""

    tokens: tuple[str, ...]
    end: str
    """What ends a turn that calls."""
    bos: str = ""
    eos: str = "<|endoftext|>"
    thinks: bool = False
    """The thoughts of a turn that calls are shown while the tools answer."""
    speaks: bool = True
    """A turn that calls can say something too."""
    most_calls: int = 2
    shows_tools: bool = True
    """The template takes them; otherwise the prompt describes them itself."""
    package: str = ""
    """The family of the package whose template this is."""
    around: tuple[str, str, int | None] = ("", "", None)
    """In the package's prompt: what stands before the words on tools, after them, and the indent
    of a tool's JSON."""


FAMILIES = {
    "hermes": Form(
        tokens=HERMES, end="<|im_end|>", thinks=True, package="qwen3",
        around=("<|im_start|>system\n", "<|im_end|>", None),
    ),
    "qwen_xml": Form(
        tokens=(*HERMES, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
        end="<|im_end|>", thinks=True, package="qwen3.5",
        around=("<|im_start|>system\n", "<|im_end|>", None),
    ),
    "glm": Form(
        tokens=(
            "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>",
            *THINK, "<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>",
            "</arg_value>", "<tool_response>", "</tool_response>", "/nothink",
        ),
        end="<|observation|>", thinks=True, package="glm-4.5",
        around=("<|system|>\n", "<|user|>", None),
    ),
    "llama_json": Form(
        tokens=(
            "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
            "<|eot_id|>", "<|eom_id|>", "<|python_tag|>",
        ),
        end="<|eot_id|>", bos="<|begin_of_text|>", speaks=False, most_calls=1, package="llama-3",
        around=("user<|end_header_id|>\n\n", "", 4),
    ),
    "pythonic": Form(tokens=("<|im_start|>", "<|im_end|>"), end="<|im_end|>"),
    "mistral": Form(
        tokens=(
            "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
            "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]",
            "[/TOOL_RESULTS]",
        ),
        end="</s>", bos="<s>", eos="</s>", speaks=False,
    ),
    "deepseek": Form(
        tokens=(
            "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>",
            *THINK,
            "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>",
            "<｜tool▁call▁end｜>", "<｜tool▁sep｜>", "<｜tool▁output▁begin｜>",
            "<｜tool▁output▁end｜>",
        ),
        end="<｜end▁of▁sentence｜>", bos="<｜begin▁of▁sentence｜>",
        eos="<｜end▁of▁sentence｜>", shows_tools=False,
    ),
    "kimi": Form(
        tokens=(
            "<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>",
            *THINK, "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>",
            "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>",
        ),
        end="<|im_end|>", thinks=True,
    ),
    "harmony": Form(
        tokens=(
            "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>",
            "<|call|>",
        ),
        end="<|call|>", eos="<|return|>", thinks=True, speaks=False, most_calls=1,
    ),
}  # fmt: skip

TOOLS: tuple[Mapping[str, Any], ...] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"The {name} of a place.",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "Where."},
                    "days": {"type": "integer", "description": "How many."},
                },
                "required": ["place"],
            },
        },
    }
    for name in ("weather", "population")
)
WORDS = (
    "sun", "rain?", "naïve", "two\nlines", "tab\there", '"quoted"', "{braces}", "50%", "日本",
    "a, b", "it's", "<b>", "\\n", "  spaced", "42", "- a list\n- of two", "`code` of",
)  # fmt: skip


def template_of(family: str) -> str:
    """The family's template: the published one where it is there, else that of `forms/`."""
    published = Path(os.environ.get("MUNRO_PUBLISHED_TEMPLATES", "/nowhere")) / f"{family}.jinja"
    if published.is_file():
        return published.read_text(encoding="utf-8")
    text = (FORMS / f"{family}.jinja").read_text(encoding="utf-8")
    head, tail = told_of_tools(family) if "@HEAD@" in text else ("", "")
    return text.replace("@HEAD@", _quoted(head)).replace("@TAIL@", _quoted(tail))


def _quoted(text: str) -> str:
    """A text as a template's own."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


@cache
def told_of_tools(family: str) -> tuple[str, str]:
    """What the package's prompt of this family says before and after its tools."""
    from renderers import config_from_name, create_renderer

    form = FAMILIES[family]
    tokenizer = tokenizer_of(family, None)
    render = create_renderer(tokenizer, config_from_name(form.package))
    asked = [{"role": "user", "content": "QUESTION"}]
    text = tokenizer.decode(render.render_ids(asked, tools=[dict(TOOLS[0])]))
    before, after, indent = form.around
    tool = json.dumps(TOOLS[0], indent=indent)
    text = text[text.index(before) + len(before) :]
    head, _, rest = text.partition(tool)
    tail = rest[: rest.index(after)] if after else ""
    # the template itself puts the line break that each tool begins or ends with
    if family == "glm":
        return head, tail.removeprefix("\n")
    return (head, tail) if indent else (head.removesuffix("\n"), tail)


def tokenizer_of(family: str, template: str | None) -> Any:
    """A small tokenizer with the family's own tokens and merges of its own."""
    form = FAMILIES[family]
    tokenizer = _trained()
    special = [*dict.fromkeys([*form.tokens, form.eos])]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.eos_token = form.eos
    tokenizer.bos_token = form.bos or None
    tokenizer.chat_template = template
    return tokenizer


def _trained() -> Any:
    texts = [f"{word} {json.dumps(TOOLS)}\n\nuser\nassistant\n{word}" for word in WORDS]
    return train_tokenizer(texts * 3, vocab_size=420, max_context=4096)


def conversations(family: str, count: int = 40) -> list[tuple[list[Message], int]]:
    """Conversations that end in what a tool said, and where the policy's own turns begin."""
    return [_conversation(family, random.Random(f"{family} {number}")) for number in range(count)]


def _conversation(family: str, draw: random.Random) -> tuple[list[Message], int]:
    form, count = FAMILIES[family], 0
    said = [Message(role="system", content=_text(draw))] if draw.random() < 0.5 else []
    if not form.shows_tools:
        said = [Message(role="system", content=f"Call tools. {json.dumps(TOOLS)}")]
    for _ in range(draw.randrange(3)):
        said.append(Message(role="user", content=_text(draw)))
        if draw.random() < 0.5:
            turn = _calls(family, draw, 90 + len(said), count)
            count += len(turn.tool_calls)
            said += [turn, *_seen(draw, turn)]
        thought = _text(draw) if form.thinks else ""
        said.append(Message(role="assistant", content=_text(draw), reasoning=thought))
    said.append(Message(role="user", content=_text(draw)))
    begin = len(said)
    for number in range(draw.randint(1, 3)):
        turn = _calls(family, draw, number, count)
        count += len(turn.tool_calls)
        said += [turn, *_seen(draw, turn)]
    return said, begin


def _calls(family: str, draw: random.Random, turn: int, before: int) -> Message:
    form = FAMILIES[family]
    calls = []
    for number in range(draw.randint(1, form.most_calls)):
        name = draw.choice(("weather", "population"))
        given = {"place": _text(draw)} | (
            {"days": draw.randrange(99)} if draw.random() < 0.7 else {}
        )
        call_id = f"functions.{name}:{before + number}" if family == "kimi" else ""
        call_id = call_id or f"call{turn:03d}{number:02d}"
        calls.append(
            ToolCall(id=call_id, name=name, arguments=json.dumps(given, ensure_ascii=False))
        )
    return Message(
        role="assistant",
        content=_text(draw) if form.speaks and draw.random() < 0.5 else "",
        reasoning=_text(draw) if form.thinks else "",
        tool_calls=tuple(calls),
    )


def _seen(draw: random.Random, turn: Message) -> list[Message]:
    return [
        Message(role="tool", content=_text(draw), tool_call_id=call.id) for call in turn.tool_calls
    ]


def _text(draw: random.Random) -> str:
    # families trim texts, or not: what is trimmed is not a text's own
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 6))).strip() or "42"


def plain(message: Message, family: str) -> dict[str, Any]:
    """The message as the family's template wants it."""
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        told["thinking" if family == "harmony" else "reasoning_content"] = message.reasoning
    if message.tool_calls:
        told["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": call.arguments
                    if family == "deepseek"
                    else json.loads(call.arguments),
                },
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        told["tool_call_id"] = message.tool_call_id
    return told
