"""<|channel|>commentary to=functions.NAME<|message|>{...}<|call|>: gpt-oss."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from munro.envs.tool_use import strict_json
from munro.envs.types import Message, ToolCall
from munro.rollout.calls import Family, Tools, call, given, not_json

BEGIN = r"(?<!`)to=functions\.([\w.-]{1,200})"
CALL = re.compile(f"{BEGIN}(.*?)(<\\|call\\|>|<\\|end\\|>|(?={BEGIN})|\\Z)", re.S)
ANALYSIS = re.compile(r"<\|channel\|>analysis<\|message\|>(.*?)(?:<\|end\|>|\Z)", re.S)
# what stands before a message, and what ends it
AROUND = re.compile(
    r"<\|start\|>assistant|<\|channel\|>\w{1,40} ?|<\|message\|>|<\|(?:end|return)\|>"
)


class Harmony(Family):
    """A turn is made of channels: what stands in `analysis` is thought."""

    name = "harmony"
    signs = (r"<\|channel\|>", r"<\|message\|>", r"to=")
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

    def written(self, calls: Sequence[ToolCall]) -> str:
        """See `Family.written`."""
        return "<|start|>assistant".join(
            f"<|channel|>commentary to=functions.{call.name} <|constrain|>json<|message|>"
            f"{json.dumps(given(call), ensure_ascii=False)}<|call|>"
            for call in calls
        )

    def turn(self, message: Message) -> str:
        """See `Family.turn`: a channel each."""
        parts = [("analysis", message.reasoning), ("commentary", message.content)]
        told = [f"<|channel|>{name}<|message|>{text}<|end|>" for name, text in parts if text]
        return "<|start|>assistant".join([*told, self.written(message.tool_calls)])

    def parted(self, text: str) -> tuple[str, str]:
        """See `Family.parted`."""
        thoughts, spoken = super().parted(text)
        analysis = ANALYSIS.findall(spoken)
        return "\n".join(filter(None, [thoughts, *analysis])), ANALYSIS.sub("", spoken)

    def said(self, spoken: str, calls: Sequence[ToolCall]) -> str:
        """See `Family.said`."""
        said = AROUND.sub("", CALL.sub("", spoken) if calls else spoken)
        return said if said == spoken else said.strip()
