"""<tool_call>{"name": ..., "arguments": {...}}</tool_call>: Hermes, Qwen2.5, Qwen3, SmolLM3."""

from __future__ import annotations

from munro.envs.tool_use import FORM, parse_calls
from munro.envs.types import ToolCall
from munro.rollout.calls import Family, Tools


class Hermes(Family):
    """The form in which environments write their own gold replies too."""

    name = "Hermes"
    signs = ("<tool_call>",)
    form = FORM

    def parse(self, text: str, tools: Tools) -> list[ToolCall]:  # noqa: ARG002
        """See `Family.parse`."""
        return parse_calls(text)
