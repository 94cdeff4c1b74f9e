"""<tool_call>NAME<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>: GLM-4.5."""

from __future__ import annotations

import re
from collections.abc import Sequence

from munro.envs.types import ToolCall
from munro.rollout.calls import Family, Tools, call, given, unreadable
from munro.rollout.calls.qwen_xml import as_text, typed

CALL = re.compile(r"(?<!`)<tool_call>(.*?)(</tool_call>|(?=<tool_call>)|\Z)", re.S)


class Glm(Family):
    """Values are texts as they stand, but where the tool's schema asks for something else."""

    name = "GLM"
    signs = ("<tool_call>", "<arg_key>", "<arg_value>")
    form = "<tool_call>NAME\n<arg_key>key</arg_key>\n<arg_value>value</arg_value>\n</tool_call>"

    def parse(self, text: str, tools: Tools) -> list[ToolCall]:
        """See `Family.parse`."""
        found = []
        for match in CALL.finditer(text):
            name, *pairs = match[1].split("<arg_key>")
            if not match[2]:
                found.append(unreadable("the call is not closed: </tool_call> is missing"))
                continue
            if not re.fullmatch(r"[\w.-]{1,200}", name.strip()):
                found.append(unreadable(f"a call is written {self.form}"))
                continue
            arguments = {}
            for pair in pairs:
                key, closed, rest = pair.partition("</arg_key>")
                value, ended, _ = rest.partition("<arg_value>")[2].rpartition("</arg_value>")
                if not closed or not ended:
                    found.append(unreadable(f"an argument is not closed; a call is {self.form}"))
                    break
                arguments[key.strip()] = typed(value, name.strip(), key.strip(), tools)
            else:
                found.append(call(name, arguments, self.form))
        return found

    def written(self, calls: Sequence[ToolCall]) -> str:
        """See `Family.written`."""
        return "\n".join(
            f"<tool_call>{call.name}\n"
            + "".join(
                f"<arg_key>{key}</arg_key>\n<arg_value>{as_text(value)}</arg_value>\n"
                for key, value in given(call).items()
            )
            + "</tool_call>"
            for call in calls
        )

    def said(self, spoken: str, calls: Sequence[ToolCall]) -> str:
        """See `Family.said`."""
        return CALL.sub("", spoken) if calls else spoken
