"""<|channel|>commentary to=functions.NAME<|message|>{...}<|call|>: gpt-oss."""

from __future__ import annotations

import re

from munro.envs.tool_use import strict_json
from munro.envs.types import ToolCall
from munro.rollout.calls import Family, Tools, call, not_json

BEGIN = r"(?<!`)to=functions\.([\w.-]{1,200})"
CALL = re.compile(f"{BEGIN}(.*?)(<\\|call\\|>|<\\|end\\|>|(?={BEGIN})|\\Z)", re.S)
ANALYSIS = re.compile(r"<\|channel\|>analysis<\|message\|>.*?(?:<\|end\|>|\Z)", re.S)


class Harmony(Family):
    """A turn is made of channels: what stands in `analysis` is thought."""

    name = "harmony"
    signs = (r"<\|channel\|>", r"<\|message\|>", r"to=functions\.")
    form = "<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>"

    def parse(self, text: str, tools: Tools) -> list[ToolCall]:  # noqa: ARG002
        """See `Family.parse`; the token that ends the turn is no part of the text any more."""
        found = []
        for match in CALL.finditer(ANALYSIS.sub("", text)):
            _, _, arguments = match[2].partition("<|message|>")
            try:
                found.append(call(match[1], strict_json(arguments), self.form))
            except (ValueError, RecursionError) as error:
                found.append(not_json(error, self.form))
        return found
