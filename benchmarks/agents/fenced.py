"""Calls as small models write them by themselves: a command in a fenced block of bash.

`rollout.calls = "benchmarks/agents/fenced.py"` reads them, for models that were never taught a form
of calls, and whose chat templates show no tools.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from munro.envs.types import ToolCall
from munro.rollout.calls import Family, Tools, call

BLOCK = re.compile(r"```(?:bash|sh|shell|console)[^\S\n]*\n(.*?)(?:\n```|\Z)", re.DOTALL)


class Fenced(Family):
    """One call a block; a block of another language is text."""

    name, signs, form = "fenced bash", ("```bash",), "```bash\nCOMMAND\n```"

    def parse(self, text: str, tools: Tools) -> list[ToolCall]:  # noqa: ARG002
        """See `Family.parse`."""
        return [call("bash", {"command": each}, self.form) for each in BLOCK.findall(text)]

    def written(self, calls: Sequence[ToolCall]) -> str:  # noqa: ARG002
        """See `Family.written`."""
        return ""
