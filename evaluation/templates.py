"""A climb's prompts as a Jinja chat template, for servers that know no other way.

    r1_zero, plain    written out as a template
    chat              the tokenizer's own, with what the climb tells it in front

A climb lets no text from outside become a token that means something (`rollout/render/inert.py`).
A server has only text and a tokenizer, so both are made to agree: the template breaks such texts
with a mark, and the tokenizer, otherwise the checkpoint's own, parts a text at the mark and drops
it. Whether all this gives the climb's tokens is not believed but looked at, whenever one is made.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from munro.envs.types import Message, ToolCall
from munro.rewards.serving.architectures import register_architectures
from munro.rollout.render import PREAMBLE, BadTemplate, Renderer, renderer
from munro.rollout.render.forms import form_of
from munro.rollout.render.inert import Inert
from munro.rollout.render.raw import SPEAKERS

Template = Literal["chat", "r1_zero", "plain"]
TEMPLATES: tuple[Template, ...] = ("chat", "r1_zero", "plain")
MARK = "\u2bff\u2bfe\u2bff"
"""Parts a text where a token that means something would stand; no text of a person's has it."""
TEMPLATE_FILE = "munro_template.jinja"

Conversation = tuple[tuple[Message, ...], tuple[Mapping[str, Any], ...]]
"""Messages and tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server needs beside the weights, in a folder."""

    folder: Path
    """A tokenizer, `munro_template.jinja`, and a generation_config.json."""
    renderer: Renderer
    """The climb's."""
    live: tuple[str, ...]
    """Texts that would become tokens which mean something."""
    refuses: bool
    """A conversation that holds one of them is refused, not parted."""
    notes: tuple[str, ...]
    """What a person should know of its prompts."""

    @property
    def template_file(self) -> Path:
        """The chat template."""
        return self.folder / TEMPLATE_FILE


@contextmanager
def made(
    checkpoint: Path,
    template: Template,
    args: Mapping[str, Any],
    sampling: Mapping[str, float],
) -> Iterator[Served]:
    """Make what serves a checkpoint's prompts as a climb's; the folder goes when it is done.

    Args:
        checkpoint: folder with a tokenizer.
        template: of the climb.
        args: what a chat template is told; `rollout.template_args`.
        sampling: `temperature` and the like, for requests that do not say.

    Raises:
        BadTemplate: the tokenizer lacks what the template needs, or no template gives the
            climb's tokens.
    """
    tokenizer = _loaded(checkpoint)
    reference = renderer(tokenizer, template, args)
    with tempfile.TemporaryDirectory(prefix="munro-template-") as scratch:
        folder = Path(scratch)
        notes = list(reference.notes)
        parted = _save(tokenizer, folder)
        live = live_texts(tokenizer)
        text = jinja(tokenizer, template, args, live)
        # of texts with tokens in them the tokenizer may make something else, parted
        refuses = bool(_differences(parted, text, reference, hostile(live)))
        if refuses:
            text = jinja(tokenizer, template, args, live, refuse=True)
            notes.append(
                "its tokenizer cannot be parted: a conversation that holds one of its special "
                "tokens as text is refused."
            )
        if wrong := _differences(parted, text, reference, PLAIN_TEXTS):
            raise BadTemplate(
                f"the prompts of template {template!r} on {checkpoint} cannot be told to a server: "
                f"{wrong[0]}"
            )
        (folder / TEMPLATE_FILE).write_text(text, encoding="utf-8")
        ends = {"eos_token_id": list(reference.stop_token_ids)} if reference.stop_token_ids else {}
        config = {"do_sample": True, **ends, **sampling}
        (folder / "generation_config.json").write_text(json.dumps(config))
        yield Served(
            folder=folder, renderer=reference, live=live, refuses=refuses, notes=tuple(notes)
        )


def live_texts(tokenizer: Any) -> tuple[str, ...]:
    """The texts that would become tokens which mean something, longest first."""
    return Inert(tokenizer).live


def jinja(
    tokenizer: Any,
    template: Template,
    args: Mapping[str, Any],
    live: Sequence[str],
    *,
    refuse: bool = False,
) -> str:
    """A chat template whose text a tokenizer that parts at marks encodes as the climb's prompt.

    Args:
        tokenizer: the checkpoint's.
        template: of the climb.
        args: what a chat template is told.
        live: texts to break, longest first.
        refuse: do not break them: refuse a conversation that has one.
    """
    if template == "chat":
        return _chat(tokenizer, args, live, refuse)
    broken = _broken("said.text", live, refuse)
    if template == "plain":
        spoken = "{%- for message in messages -%}{%- set said.text = said.text ~ message.content"
        spoken += ' ~ "\\n" -%}{%- endfor -%}'
        before, after = "", ""
    else:
        spoken = _R1_ZERO
        before, after = _literal(PREAMBLE), _literal("Assistant: <think>")
    return (
        '{%- set said = namespace(text="") -%}'
        + spoken
        + _guard("said.text")
        + _literal(_start(tokenizer))
        + before
        + broken
        + after
    )


_SPEAKERS = json.dumps(dict(SPEAKERS))
_R1_ZERO = f"""
{{%- set speakers = {_SPEAKERS} -%}}
{{%- for message in messages if message.role == "system" -%}}
{{%- set said.text = said.text ~ message.content ~ "\\n\\n" -%}}
{{%- endfor -%}}
{{%- if tools -%}}
{{%- set shown = tools | tojson(ensure_ascii=true) -%}}
{{%- set said.text = said.text ~ "Tools, as JSON schemas:\\n" ~ shown ~ "\\n\\n" -%}}
{{%- endif -%}}
{{%- for message in messages if message.role != "system" -%}}
{{%- set speaker = speakers.get(message.role, message.role.capitalize()) -%}}
{{%- set said.text = said.text ~ speaker ~ ": " ~ message.content ~ "\\n" -%}}
{{%- endfor -%}}
""".strip()

# texts, and keys, at any depth of messages and tools; what it makes of a value goes to into.value
_WALK = """
{{%- macro munro_broken(value, into) -%}}
{{%- if value is string -%}}
{guard}
{{%- set into.value = {broken} -%}}
{{%- elif value is mapping -%}}
{{%- set all = namespace(value={{}}) -%}}
{{%- for key, inner in value.items() -%}}
{{%- set name = namespace(value="") -%}}
{{%- set one = namespace(value="") -%}}
{{{{- munro_broken(key, name) ~ munro_broken(inner, one) -}}}}
{{%- set all.value = dict(all.value, **{{name.value: one.value}}) -%}}
{{%- endfor -%}}
{{%- set into.value = all.value -%}}
{{%- elif value is iterable -%}}
{{%- set all = namespace(value=[]) -%}}
{{%- for inner in value -%}}
{{%- set one = namespace(value="") -%}}
{{{{- munro_broken(inner, one) -}}}}
{{%- set all.value = all.value + [one.value] -%}}
{{%- endfor -%}}
{{%- set into.value = all.value -%}}
{{%- else -%}}
{{%- set into.value = value -%}}
{{%- endif -%}}
{{%- endmacro -%}}
{{%- set munro_said = namespace(value=[]) -%}}
{{{{- munro_broken(messages, munro_said) -}}}}
{{%- set messages = munro_said.value -%}}
{{%- if tools -%}}
{{%- set munro_tools = namespace(value=[]) -%}}
{{{{- munro_broken(tools, munro_tools) -}}}}
{{%- set tools = munro_tools.value -%}}
{{%- endif -%}}
""".strip()


def _chat(tokenizer: Any, args: Mapping[str, Any], live: Sequence[str], refuse: bool) -> str:
    told = "".join(f"{{%- set {name} = {value!r} -%}}" for name, value in args.items())
    guard = _guard("value")
    walk = _WALK.format(guard=guard + _refusal("value", live) * refuse, broken="value")
    if not refuse:
        walk = _WALK.format(guard=guard, broken="value" + _replacing(live))
    # servers that look for it leave a developer's message to the template, as a climb does
    note = '{#- "developer" -#}'
    # an expression, so that no line break of the template's own is taken with what stands before
    return note + told + (walk if live else "") + "{{ '' }}" + _own(tokenizer.chat_template)


def _own(told: Any) -> str:
    """The tokenizer's template; of several, those that transformers itself would choose."""
    if isinstance(told, str):
        return told
    default = str(told["default"])
    if "tool_use" not in told:
        return default
    return (
        "{%- if tools -%}{{ '' }}"
        + str(told["tool_use"])
        + "{%- else -%}{{ '' }}"
        + default
        + "{%- endif -%}"
    )


def _broken(name: str, live: Sequence[str], refuse: bool) -> str:
    if refuse:
        return _refusal(name, live) + "{{- " + name + " -}}"
    return "{{- " + name + _replacing(live) + " -}}"


def _replacing(live: Sequence[str]) -> str:
    found = ""
    for text in live:
        # one that overlaps itself is still there after the first time
        overlaps = any(text.endswith(text[:size]) for size in range(1, len(text)))
        found += f".replace({text!r}, {text[0] + MARK + text[1:]!r})" * (1 + overlaps)
    return found


def _refusal(name: str, live: Sequence[str]) -> str:
    said = "this text holds a special token of the model's, which this server cannot show as text: "
    return "".join(
        f"{{%- if {text!r} in {name} -%}}{{{{ raise_exception({said + text!r}) }}}}{{%- endif -%}}"
        for text in live
    )


def _guard(name: str) -> str:
    said = f"a text holds {MARK}, by which this server parts texts: leave it out"
    return f"{{%- if {MARK!r} in {name} -%}}{{{{ raise_exception({said!r}) }}}}{{%- endif -%}}"


def _literal(text: str) -> str:
    return "{{- " + repr(text) + " -}}" if text else ""


def _start(tokenizer: Any) -> str:
    """The text of what the tokenizer puts before any text."""
    bare = tokenizer.encode("x", add_special_tokens=False)
    whole = tokenizer.encode("x")
    for first in range(len(whole)):
        if whole[first : first + len(bare)] == bare:
            return str(tokenizer.decode(whole[:first], skip_special_tokens=False))
    return ""


def _save(tokenizer: Any, folder: Path) -> Any:
    """Write the tokenizer, made to part texts at marks; and load it as a server does.

    Raises:
        BadTemplate: it is none that can be written so.
    """
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise BadTemplate(
            f"the tokenizer of {tokenizer.name_or_path!r} has no tokenizer.json, in which a "
            "climb's prompts could be told to a server."
        )
    told = json.loads(file.read_text(encoding="utf-8"))
    part = {"type": "Split", "pattern": {"String": MARK}, "behavior": "Removed", "invert": False}
    own = told.get("pre_tokenizer")
    told["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [part, *([own] if own else [])],
    }
    file.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    return _loaded(folder)


def _loaded(folder: Path) -> Any:
    from transformers import AutoTokenizer

    register_architectures()  # or it wonders at a model type that it does not know
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _differences(
    parted: Any, text: str, reference: Renderer, conversations: Sequence[Conversation]
) -> list[str]:
    """Conversations of which a server's tokens are not the climb's, one sentence each."""
    from jinja2 import TemplateError

    found = []
    for messages, tools in conversations:
        try:
            ours = reference.opening(messages, tools)
        except BadTemplate:
            continue  # no climb asks this
        try:
            theirs = parted.encode(
                parted.apply_chat_template(
                    [form_of(message) for message in messages],
                    tools=[dict(tool) for tool in tools] or None,
                    chat_template=text,
                    add_generation_prompt=True,
                    tokenize=False,
                ),
                add_special_tokens=False,
            )
        except (TemplateError, TypeError, ValueError) as error:
            found.append(f"the template fails on {messages[-1].content!r}: {error}")
            continue
        if list(theirs) != ours:
            at = next(
                (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
                min(len(ours), len(theirs)),
            )
            found.append(
                f"from token {at} on they are {parted.decode(ours[at : at + 8])!r} in a climb and "
                f"{parted.decode(theirs[at : at + 8])!r} there."
            )
    return found


def hostile(live: Sequence[str]) -> tuple[Conversation, ...]:
    """Conversations that hold as text what must not become a token."""
    return tuple(
        conversation
        for text in live
        for conversation in (
            _asked(("user", f"a{text} b {text}{text}c\n{text}")),
            _asked(
                ("system", text), ("user", text[:-1] + text), ("assistant", text), ("user", "?")
            ),
            (
                (
                    Message(role="user", content="Look."),
                    Message(role="assistant", content="", tool_calls=(_CALL,)),
                    Message(role="tool", content=f"read: {text}", tool_call_id="call00000"),
                ),
                (_ADD,),
            ),
        )
    )


def _asked(*told: tuple[str, str]) -> Conversation:
    return tuple(Message(role=role, content=text) for role, text in told), ()


_ADD: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add, é.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
        },
    },
}
_CALL = ToolCall(id="call00000", name="add", arguments='{"a": 1}')
PLAIN_TEXTS: tuple[Conversation, ...] = (
    _asked(("user", "What is 17 + 25?")),
    _asked(("user", "  spaces, \n\nlines and 'quotes' \\n é 中 🏔 <b>&amp;</b> {{ x }}  ")),
    _asked(("system", "Be brief."), ("user", "Hello")),
    _asked(("user", "Hello"), ("assistant", "Hi!"), ("user", "And 2 + 2?")),
    ((Message(role="user", content="Add."),), (_ADD,)),
    (
        (
            Message(role="user", content="Add."),
            Message(role="assistant", content="", tool_calls=(_CALL,)),
            Message(role="tool", content='{"sum": 4}', tool_call_id="call00000"),
        ),
        (_ADD,),
    ),
)
"""Conversations whose tokens are compared whenever a template is made."""
