"""The function-calling tasks of BFCL, as the package `bfcl-eval` ships them.

prompt   Move 'final_report.pdf' within document directory to 'temp' directory in document. (...)
reply    <tool_call>{"name": "cd", "arguments": {"folder": "document"}}</tool_call>
         {"current_working_directory": "document"}      (what the mock file system answers)
         It is done.
         Perform a detailed search using grep (...)     (what the user says next)
grade    passed: after every turn of the user the states are gold's, and its answers were had

Three kinds: conversations of several turns against eight mock interfaces (`conversation`), the
right calls of one turn (`single`, `matching`), and prompts that no tool fits, where any call fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from munro.envs.base import Environment, Episode, Policy
from munro.envs.bfcl.child import Interfaces
from munro.envs.bfcl.conversation import MOST_STEPS, Conversation
from munro.envs.bfcl.matching import Made
from munro.envs.bfcl.package import (
    CONVERSATIONS,
    MATCHED,
    BadPackage,
    Package,
    Row,
    names_of,
)
from munro.envs.bfcl.scene import Scene
from munro.envs.bfcl.schemas import tool_of
from munro.envs.bfcl.single import DECLINED, OneTurn, gold_turn, is_sound
from munro.envs.budget import Budget
from munro.envs.data.rows import place_of
from munro.envs.types import Message, Task, ToolCall

__all__ = ["BFCL", "BadPackage"]
TURNS = 100
"""Of the policy, in a conversation; the longest gold one takes fewer than half as many."""
DONE = "It is done."
MISSING = "I cannot do that yet: something that it takes is missing."


class BFCL(Environment):
    """Functions to call, and not to call, in BFCL's own tasks; graded by its own rules."""

    name = "bfcl"
    file_args: ClassVar[tuple[str, ...]] = ("data",)
    budget = Budget(turns=TURNS)

    def __init__(
        self,
        data: str = "",
        categories: Sequence[str] = (),
        tools: str = "task",
        test_share: float = 0.25,
    ) -> None:
        """Read the tasks out of the package.

        Args:
            data: folder of the package bfcl-eval, or the one it was installed into; where Python
                finds it unless given.
            categories: the package's names ("multi_turn_base", "parallel", "irrelevance", ...); all
                that need no network unless given.
            tools: "task" shows a conversation the interfaces that it is about; "all" all eight,
                with their 128 tools.
            test_share: share of the tasks that is held out, conversations about one scene together;
                1 for all of them.
        """
        if tools not in ("task", "all"):
            raise ValueError(f"tools = {tools!r}: write 'task' or 'all'.")
        if not 0 <= test_share <= 1:
            raise ValueError(f"test_share = {test_share}: give a share in [0, 1].")
        names = names_of([categories] if isinstance(categories, str) else categories)
        self.package = Package(data)
        self._interfaces = Interfaces(self.package.home)
        self._shows_all = tools == "all"
        self._rows: dict[str, tuple[str, Row]] = {}
        self._sides: dict[str, list[str]] = {"train": [], "test": []}
        self.left_out: list[str] = []
        """Tasks whose own answers cannot be given: wrong in the package."""
        bound = int(test_share * 2**32)
        for category in names:
            for row in self.package.rows(category):
                if category in MATCHED and not is_sound(row):
                    self.left_out.append(row["id"])
                    continue
                self._rows[row["id"]] = category, row
                side = "test" if place_of(_cluster(category, row)) < bound else "train"
                self._sides[side].append(row["id"])

    def tasks(self, split: str) -> Iterable[Task]:
        """The tasks of one side, category by category."""
        if split not in self._sides:
            raise ValueError(f"split = {split!r}: bfcl has 'train' and 'test'.")
        return [self._task(task_id) for task_id in self._sides[split]]

    async def start(self, task: Task) -> Episode:
        """An episode that is over with the user's last turn."""
        category, row = self._rows[task.id]
        if category in CONVERSATIONS:
            return Conversation(self.scene(task), self._interfaces)
        return OneTurn(row, category)

    async def restore(self, task: Task, saved: bytes) -> Episode:
        """A conversation that goes on: its calls are made again."""
        return Conversation(self.scene(task), self._interfaces, saved)

    def gold_policy(self, task: Task) -> Policy:
        """The gold calls, as a rule one a turn in a conversation, all at once in a single turn."""
        if self.row(task)[0] in CONVERSATIONS:
            said = [turn for calls in self.scene(task).gold for turn in _spoken(calls)]
        else:
            calls = self.gold_calls(task)
            said = [_calling(calls)] if calls else [_saying(DECLINED)]
        turns = iter(said)
        return lambda seen: next(turns)  # noqa: ARG005

    def row(self, task: Task) -> tuple[str, Row]:
        """A task's category, and the task as the package has it."""
        return self._rows[task.id]

    def scene(self, task: Task) -> Scene:
        """A conversation: its interfaces, what the user says, and the gold calls."""
        return self._scene(task.id)

    def gold_calls(self, task: Task) -> list[Made]:
        """The right calls of a task of one turn."""
        category, row = self.row(task)
        return gold_turn(row, category)

    def _task(self, task_id: str) -> Task:
        category, row = self._rows[task_id]
        labels = {"kind": category, "cluster": _cluster(category, row)}
        if category in CONVERSATIONS:
            scene = self._scene(task_id)
            return Task(
                id=task_id,
                messages=scene.asked(0),
                tools=tuple(self.package.shown[name] for name in scene.tools_in(0)),
                labels=labels,
            )
        asked = [Message(role=one["role"], content=one["content"]) for one in row["question"][0]]
        return Task(
            id=task_id,
            messages=tuple(asked),
            tools=tuple(map(tool_of, row["function"])),
            labels=labels,
            budget=Budget(turns=1),
        )

    def _scene(self, task_id: str) -> Scene:
        category, row = self._rows[task_id]
        return Scene(row, category, self.package, self._shows_all)


def _cluster(category: str, row: Row) -> str:
    """The four categories of conversations tell the same scenes, by their numbers."""
    number = row["id"].rpartition("_")[2]
    return f"multi_turn_{number}" if category in CONVERSATIONS else str(row["id"])


def _spoken(calls: Sequence[Sequence[Any]]) -> list[Message]:
    """The gold turns of one turn of the user: a call each, or more where there are too many."""
    at_once = -(-len(calls) // MOST_STEPS) or 1
    parts = [calls[start : start + at_once] for start in range(0, len(calls), at_once)]
    return [*map(_calling, parts), _saying(DONE if calls else MISSING)]


def _calling(calls: Sequence[Sequence[Any]]) -> Message:
    made = tuple(
        ToolCall(id=f"gold{number}", name=name, arguments=json.dumps(arguments))
        for number, (name, arguments) in enumerate(calls)
    )
    return Message(role="assistant", content="", tool_calls=made, is_sampled=True)


def _saying(text: str) -> Message:
    return Message(role="assistant", content=text, is_sampled=True)
