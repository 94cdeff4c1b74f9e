"""A task of several turns: its interfaces, what the user says when, and the gold calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from munro.envs.bfcl.apis import MODULES
from munro.envs.bfcl.package import LONG, Package, Row
from munro.envs.bfcl.written import call_of
from munro.envs.types import Message

MORE_TOOLS = "You can use these tools too from now on; what about it now?\n\n{tools}"
"""What the user says where tools come that were missing before."""


@dataclass(frozen=True)
class Scene:
    """One task of several turns."""

    row: Row
    """As the package has it."""
    category: str
    package: Package
    shows_all: bool = False
    """All interfaces are there, with their 128 tools; not only those that the task is about."""

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The interfaces that are there."""
        wanted = self.row["involved_classes"]
        return tuple(MODULES) if self.shows_all else tuple(wanted)

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """What `apis` builds the interfaces of."""
        return {
            "classes": self.classes,
            "config": {
                name: config
                for name, config in self.row["initial_config"].items()
                if name in self.classes
            },
            "long": self.category == LONG,
        }

    @cached_property
    def described(self) -> dict[str, Row]:
        """All tools that there are at any time, as the package describes them."""
        left_out = set(self.row.get("excluded_function", ()))
        return {
            name: tool
            for each in self.classes
            for name, tool in self.package.tools[each].items()
            if name not in left_out
        }

    @cached_property
    def gold(self) -> list[list[list[Any]]]:
        """By turns of the user, the gold calls."""
        parameters = {
            name: tuple(tool["parameters"].get("properties", ()))
            for each in MODULES
            for name, tool in self.package.tools[each].items()
        }
        return [
            [list(call_of(text, parameters)) for text in calls]
            for calls in self.row["ground_truth"]
        ]

    def tools_in(self, turn: int) -> list[str]:
        """Names of the tools that may be called in a turn of the user."""
        missing = {name for when, names in self._missed if when > turn for name in names}
        return [name for name in self.described if name not in missing]

    def asked(self, turn: int) -> tuple[Message, ...]:
        """What the user says at the beginning of a turn."""
        said = tuple(
            Message(role=one["role"], content=one["content"]) for one in self.row["question"][turn]
        )
        new = [name for when, names in self._missed if when == turn for name in names]
        if not new:
            return said
        shown = json.dumps([self.package.shown[name] for name in new], ensure_ascii=False)
        return (*said, Message(role="user", content=MORE_TOOLS.format(tools=shown)))

    @cached_property
    def _missed(self) -> Sequence[tuple[int, Sequence[str]]]:
        """The tools that are missing at first, and the turn in which they come."""
        missed = self.row.get("missed_function") or {}
        return [(int(turn), names) for turn, names in missed.items()]
