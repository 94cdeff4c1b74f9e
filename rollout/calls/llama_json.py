"""{"name": ..., "parameters": {...}} as the whole turn, after <|python_tag|> or not: Llama 3."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from munro.envs.tool_use import strict_json
from munro.envs.types import Message, ToolCall
from munro.rollout.calls import Family, Tools, call, given, not_json

TAG = "<|python_tag|>"
BEGUN = re.compile(r'\{\s*"name"\s*:\s*"[^"\n]{1,200}"\s*,\s*"(?:parameters|arguments)"\s*:')
"""How a turn begins that is a call, be it no JSON in the end."""


class LlamaJson(Family):
    """Several calls of one turn stand one after the other, a semicolon between them."""

    name = "Llama 3"
    signs = (r'<\|python_tag\|>|"parameters": dictionary of argument name',)
    form = '{"name": NAME, "parameters": {...}}, with nothing else in the turn'

    def parse(self, text: str, tools: Tools) -> list[ToolCall]:  # noqa: ARG002
        """See `Family.parse`; JSON that says neither name nor parameters is an answer."""
        _, tagged, rest = text.partition(TAG)
        rest = (rest if tagged else text).strip().removesuffix("<|eom_id|>")
        found: list[ToolCall] = []
        decoder = json.JSONDecoder()
        while rest := rest.lstrip("; \n\r\t"):
            try:
                wanted, end = decoder.raw_decode(rest)
                strict_json(rest[:end])
            except (ValueError, RecursionError) as error:
                is_meant = tagged or found or BEGUN.match(rest)
                return [not_json(error, self.form)] if is_meant else []
            arguments = wanted.get("parameters", wanted.get("arguments")) if _is_call(wanted) else 0
            if not tagged and not _is_call(wanted):
                return []
            found.append(call(wanted["name"] if _is_call(wanted) else None, arguments, self.form))
            rest = rest[end:]
        return found

    def written(self, calls: Sequence[ToolCall]) -> str:
        """See `Family.written`."""
        return "; ".join(
            json.dumps({"name": call.name, "parameters": given(call)}, ensure_ascii=False)
            for call in calls
        )

    def turn(self, message: Message) -> str:
        """See `Family.turn`; only after its tag may a call follow a text."""
        if not message.content and not message.reasoning:
            return self.written(message.tool_calls)
        return super().turn(message).removesuffix(calls := self.written(message.tool_calls)) + (
            f"{TAG}{calls}"
        )

    def said(self, spoken: str, calls: Sequence[ToolCall]) -> str:
        """See `Family.said`; a call is the whole turn, but for what precedes the tag."""
        before, tagged, _ = spoken.partition(TAG)
        return (before if tagged else "") if calls else spoken


def _is_call(wanted: object) -> bool:
    return (
        isinstance(wanted, dict)
        and isinstance(wanted.get("name"), str)
        and ("parameters" in wanted or "arguments" in wanted)
    )
