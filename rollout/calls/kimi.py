"""<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{...}<|tool_call_end|>: Kimi."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from munro.envs.tool_use import strict_json
from munro.envs.types import ToolCall
from munro.rollout.calls import Family, Tools, call, given, not_json, unreadable

BEGIN, ARGUMENTS, END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
CALL = re.compile(
    f"(?<!`){re.escape(BEGIN)}(.*?)({re.escape(END)}|(?={re.escape(BEGIN)})|\\Z)", re.S
)
SECTION = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")
ALL = re.compile(f"(?<!`){re.escape(SECTION[0])}.*?(?:{re.escape(SECTION[1])}|\\Z)", re.S)
NAME = re.compile(r"\s*(?:functions\.)?([\w.-]{1,200}?)(:\d{1,9})?\s*")


class Kimi(Family):
    """Names carry the kind before them, and a number after them; together they are the id."""

    name = "Kimi"
    signs = (re.escape(BEGIN), re.escape(ARGUMENTS))
    form = (
        f"<|tool_calls_section_begin|>{BEGIN}functions.NAME:0{ARGUMENTS}{{...}}{END}"
        "<|tool_calls_section_end|>"
    )

    def parse(self, text: str, tools: Tools) -> list[ToolCall]:  # noqa: ARG002
        """See `Family.parse`."""
        found = []
        for match in CALL.finditer(text):
            head, parted, arguments = match[1].partition(ARGUMENTS)
            name = NAME.fullmatch(head)
            if not match[2] or not parted or not name:
                found.append(unreadable(f"a call is written {self.form}"))
                continue
            try:
                one = call(name[1], strict_json(arguments), self.form)
                found.append(replace(one, id=head.strip()) if name[2] and not one.error else one)
            except (ValueError, RecursionError) as error:
                found.append(not_json(error, self.form))
        return found

    def written(self, calls: Sequence[ToolCall]) -> str:
        """See `Family.written`."""
        each = (
            f"{BEGIN}functions.{call.name}:{number}{ARGUMENTS}"
            f"{json.dumps(given(call), ensure_ascii=False)}{END}"
            for number, call in enumerate(calls)
        )
        return f"{SECTION[0]}{''.join(each)}{SECTION[1]}"

    def said(self, spoken: str, calls: Sequence[ToolCall]) -> str:
        """See `Family.said`."""
        return CALL.sub("", ALL.sub("", spoken)) if calls else spoken
