"""DeepSeek's calls between its own tokens: V3 and R1 (in a fence of JSON), V3.1 (bare)."""

# ruff: noqa: RUF001 - these are the tokens' own letters

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from munro.envs.tool_use import strict_json
from munro.envs.types import ToolCall
from munro.rollout.calls import Family, Tools, call, given, not_json, unreadable

BEGIN, SEP, END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
CALL = re.compile(f"(?<!`){BEGIN}(.*?)({END}|(?={BEGIN})|\\Z)", re.S)
ALL = re.compile("(?<!`)<｜tool▁calls▁begin｜>.*?(?:<｜tool▁calls▁end｜>|\\Z)", re.S)
FENCED = re.compile(r"\s*([\w.-]{1,200})\s*```json\n(.*)```\s*", re.S)


class DeepSeek(Family):
    """Both forms are read."""

    name = "DeepSeek"
    signs = (BEGIN, SEP)
    form = f"<｜tool▁calls▁begin｜>{BEGIN}NAME{SEP}{{...}}{END}<｜tool▁calls▁end｜>"

    def parse(self, text: str, tools: Tools) -> list[ToolCall]:  # noqa: ARG002
        """See `Family.parse`."""
        found = []
        for match in CALL.finditer(text):
            head, parted, rest = match[1].partition(SEP)
            if not match[2] or not parted:
                found.append(unreadable(f"a call is written {self.form}"))
                continue
            # V3 says the kind first ("function"), and the name after the mark
            fenced = FENCED.fullmatch(rest)
            name, arguments = (fenced[1], fenced[2]) if fenced else (head, rest)
            try:
                found.append(call(name, strict_json(arguments), self.form))
            except (ValueError, RecursionError) as error:
                found.append(not_json(error, self.form))
        return found

    def written(self, calls: Sequence[ToolCall]) -> str:
        """See `Family.written`."""
        each = (
            f"{BEGIN}{call.name}{SEP}{json.dumps(given(call), ensure_ascii=False)}{END}"
            for call in calls
        )
        return f"<｜tool▁calls▁begin｜>{''.join(each)}<｜tool▁calls▁end｜>"

    def said(self, spoken: str, calls: Sequence[ToolCall]) -> str:
        """See `Family.said`."""
        return CALL.sub("", ALL.sub("", spoken)) if calls else spoken
