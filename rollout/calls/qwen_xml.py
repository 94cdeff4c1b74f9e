"""<function=NAME><parameter=KEY>value</parameter></function>, in <tool_call>: Qwen3-Coder."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from munro.envs.tool_use import strict_json
from munro.envs.types import ToolCall
from munro.rollout.calls import Family, Tools, call, given, unreadable

CALL = re.compile(r"(?<!`)<function=([^>\n]{1,200})>(.*?)(</function>|(?=<function=)|\Z)", re.S)
AROUND = re.compile(r"(?<!`)</?tool_call>")


class QwenXml(Family):
    """Values are texts as they stand, but where the tool's schema asks for something else."""

    name = "Qwen3-Coder"
    signs = ("<tool_call>", "<function=", "<parameter=")
    form = (
        "<tool_call>\n<function=NAME>\n<parameter=KEY>\nvalue\n</parameter>\n</function>\n"
        "</tool_call>"
    )

    def parse(self, text: str, tools: Tools) -> list[ToolCall]:
        """See `Family.parse`."""
        found = []
        for match in CALL.finditer(text):
            if not match[3]:
                found.append(unreadable("the call is not closed: </function> is missing"))
                continue
            name, arguments = match[1].strip(), {}
            for part in match[2].split("<parameter=")[1:]:
                key, opened, rest = part.partition(">")
                value, closed, _ = rest.rpartition("</parameter>")
                if not opened or not closed:
                    found.append(unreadable(f"a parameter is not closed; a call is {self.form}"))
                    break
                # one line break on either side belongs to the form, not to the value
                value = value.removeprefix("\n").removesuffix("\n")
                arguments[key.strip()] = typed(value, name, key.strip(), tools)
            else:
                found.append(call(name, arguments, self.form))
        return found

    def written(self, calls: Sequence[ToolCall]) -> str:
        """See `Family.written`."""
        return "\n".join(
            f"<tool_call>\n<function={call.name}>\n"
            + "".join(
                f"<parameter={key}>\n{as_text(value)}\n</parameter>\n"
                for key, value in given(call).items()
            )
            + "</function>\n</tool_call>"
            for call in calls
        )

    def said(self, spoken: str, calls: Sequence[ToolCall]) -> str:
        """See `Family.said`."""
        return AROUND.sub("", CALL.sub("", spoken)).rstrip("\n") if calls else spoken


def as_text(value: Any) -> str:
    """A value as `typed` reads it: a text as it stands, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def typed(value: str, name: str, key: str, tools: Tools) -> Any:
    """A text as what the tool's schema asks for; as it stands where it is no such thing."""
    for tool in tools:
        function = tool.get("function", tool)
        if function.get("name") == name:
            schema = function.get("parameters", {}).get("properties", {}).get(key, {})
            if schema.get("type", "string") == "string" and "anyOf" not in schema:
                return value
            try:
                return strict_json(value)
            except (ValueError, RecursionError):
                return {"True": True, "False": False, "None": None}.get(value.strip(), value)
    return value
