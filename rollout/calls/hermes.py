"""<tool_call>{"name": ..., "arguments": {...}}</tool_call>: Hermes, Qwen2.5, Qwen3, SmolLM3."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from munro.envs.tool_use import CALL, FORM, parse_calls
from munro.envs.types import ToolCall
from munro.rollout.calls import Family, Tools, given


class Hermes(Family):
    """The form in which environments write their own gold replies too."""

    name = "Hermes"
    signs = ("<tool_call>",)
    form = FORM

    def parse(self, text: str, tools: Tools) -> list[ToolCall]:  # noqa: ARG002
        """See `Family.parse`."""
        return [replace(one, id="") for one in parse_calls(text)]

    def written(self, calls: Sequence[ToolCall]) -> str:
        """See `Family.written`."""
        return "\n".join(
            f'<tool_call>\n{{"name": {_json(call.name)}, "arguments": {_json(given(call))}}}\n'
            "</tool_call>"
            for call in calls
        )

    def said(self, spoken: str, calls: Sequence[ToolCall]) -> str:
        """See `Family.said`."""
        return CALL.sub("", spoken) if calls else spoken


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
