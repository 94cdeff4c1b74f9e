"""The package `renderers`: families' templates as Python, where it says what the template says.

It is asked what a tokenizer's chat template would give, conversation for conversation: first for
`PROBES`, to find which of its families this is, then for the first conversation of each kind that a
climb shows. Where it says the same tokens, they are its; where it does not, and where a text holds
what the tokenizer would take for a token of its own (`inert`), they are the template's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from munro.rollout.render.forms import Form, with_text_arguments

Tools = Sequence[Mapping[str, Any]]
Reference = Callable[[Sequence[Form], Tools], list[int] | None]
"""Tokens that the template itself gives; None where it refuses the conversation."""
FETCHES = {"gpt-oss"}
"""Families that would fetch a vocabulary from the network when they are made."""
LEAST = 4
"""Probes that a family must have in common with the template."""

_ADD: Form = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "description": "One."},
                "b": {"type": "number"},
            },
            "required": ["a"],
        },
    },
}


def _call(number: int) -> Form:
    function = {"name": "add", "arguments": {"a": number, "b": 2.5}}
    return {"id": f"call0000{number}", "type": "function", "function": function}


_HI: Form = {"role": "user", "content": "  What is 2 + 2?\n"}
_BRIEF: Form = {"role": "system", "content": "Be brief. "}
_FOUR: Form = {"role": "assistant", "content": "It is 4.", "reasoning_content": "2, then 2."}
_CALLS: Form = {"role": "assistant", "content": "", "tool_calls": [_call(0)]}
_SEEN: Form = {"role": "tool", "content": '{"sum": 4} é', "tool_call_id": "call00000"}
_TWO: Form = {"role": "assistant", "content": "Both.", "tool_calls": [_call(0), _call(1)]}
_AGAIN: Form = {"role": "tool", "content": "5", "tool_call_id": "call00001"}
PROBES: tuple[tuple[list[Form], Tools], ...] = (
    ([_HI], ()),
    ([_BRIEF, _HI], ()),
    ([_HI, _FOUR, _HI], ()),
    ([_BRIEF, _HI, _FOUR | {"reasoning_content": ""}, _HI], ()),
    ([_HI], (_ADD,)),
    ([_BRIEF, _HI], (_ADD, _ADD)),
    ([_HI, _CALLS, _SEEN], (_ADD,)),
    ([_HI, _CALLS | {"reasoning_content": "Add them."}, _SEEN], (_ADD,)),
    ([_HI, _TWO, _SEEN, _AGAIN], (_ADD,)),
    ([_HI, _CALLS, _SEEN, _FOUR, _HI], (_ADD,)),
)
"""Conversations in which families differ, or renderings of one family."""


class Known:
    """One of the package's families on one tokenizer."""

    def __init__(self, name: str, renderer: Any) -> None:
        self.name = name
        self._renderer = renderer

    def opening(self, forms: Sequence[Form], tools: Tools) -> list[int] | None:
        """Tokens of a conversation up to where the policy writes; None where it cannot say.

        The package encodes texts as they are: none may hold what the tokenizer takes for more.
        """
        given = [dict(tool) for tool in tools] or None
        # it is others' code, made for their texts: whatever it raises, it does not know
        for messages in (list(forms), with_text_arguments(forms)):
            try:
                ids = self._renderer.render_ids(messages, tools=given, add_generation_prompt=True)
            except Exception:  # noqa: BLE001
                continue
            return [int(token) for token in ids]
        return None

    def told(self, reference: Reference) -> tuple[int, int]:
        """How many probes the template takes, and of how many of them the family says the same."""
        theirs = [(probe, ids) for probe in PROBES if (ids := reference(*probe)) is not None]
        return len(theirs), sum(self.opening(*probe) == ids for probe, ids in theirs)


def known(
    tokenizer: Any, args: Mapping[str, Any], reference: Reference
) -> tuple[Known | None, str]:
    """The package's family whose template a tokenizer's is.

    Args:
        tokenizer: a Hugging Face tokenizer.
        args: what the template is told beside the conversation.
        reference: what the template itself says.

    Returns:
        None where there is none; then what a person should know of the nearest, or nothing.
    """
    nearest, most = "", 0
    for one in _candidates(tokenizer, args):
        num_probes, num_same = one.told(reference)
        if num_same == num_probes >= LEAST:
            return one, ""
        if num_same > max(most, num_probes // 2):
            nearest, most = f"{one.name}, but for {num_probes - num_same} of {num_probes}", num_same
    if not nearest:
        return None, ""
    return None, (
        f"the chat template of {tokenizer.name_or_path!r} says what the package renderers says of "
        f"{nearest} conversations: it is rendered by the template itself."
    )


def _candidates(tokenizer: Any, args: Mapping[str, Any]) -> Iterator[Known]:
    """The families that can be made for the tokenizer, with what the template is told."""
    from renderers import config_from_name, create_renderer
    from renderers.base import MODEL_RENDERER_MAP

    for name in sorted({*MODEL_RENDERER_MAP.values()} - FETCHES):
        try:
            renderer = create_renderer(tokenizer, config_from_name(name), chat_template_kwargs=args)
        except Exception:  # noqa: BLE001 - it lacks a token, or does not take an arg
            continue
        yield Known(name, renderer)
