"""[TOOL_CALLS] [{"name": ..., "arguments": {...}}], or [TOOL_CALLS]NAME[ARGS]{...}: Mistral."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from munro.envs.thoughts import THINK
from munro.envs.tool_use import strict_json
from munro.envs.types import ToolCall
from munro.rollout.calls import Family, Tools, call, given, not_json, unreadable

MARK = re.compile(r"(?<!`)\[TOOL_CALLS\]")
NAMED = re.compile(r"\s*([\w.-]{1,200})(?:\[CALL_ID\][\w-]{1,100})?\[ARGS\]")


class Mistral(Family):
    """Both forms are read; a template says which one its model writes."""

    name = "Mistral"
    signs = (r"\[TOOL_CALLS\]",)
    form = '[TOOL_CALLS] [{"name": NAME, "arguments": {...}}]'
    thoughts = (THINK, ("[THINK]", "[/THINK]"))

    def parse(self, text: str, tools: Tools) -> list[ToolCall]:  # noqa: ARG002
        """See `Family.parse`."""
        return [one for part in MARK.split(text)[1:] for one in self._calls(part)]

    def written(self, calls: Sequence[ToolCall]) -> str:
        """See `Family.written`."""
        wanted = [{"name": call.name, "arguments": given(call)} for call in calls]
        return f"[TOOL_CALLS] {json.dumps(wanted, ensure_ascii=False)}"

    def said(self, spoken: str, calls: Sequence[ToolCall]) -> str:
        """See `Family.said`; nothing is said after the first call."""
        return MARK.split(spoken)[0] if calls else spoken

    def _calls(self, part: str) -> list[ToolCall]:
        named = NAMED.match(part)
        begin = named.end() if named else len(part) - len(part.lstrip())
        try:
            wanted, end = json.JSONDecoder().raw_decode(part, begin)
            strict_json(part[begin:end])
        except (ValueError, RecursionError) as error:
            return [not_json(error, self.form)]
        if named:
            return [call(named[1], wanted, self.form)]
        wanted = wanted if isinstance(wanted, list) else [wanted]
        calls = [one if isinstance(one, dict) else {} for one in wanted]
        return [call(one.get("name"), one.get("arguments", {}), self.form) for one in calls] or [
            unreadable(f"a call is written {self.form}")
        ]
