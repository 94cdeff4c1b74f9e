"""Prompts with whatever their graders need: judged, checked or run, as the TOML says.

    [env]
    path = "prompts"
    args = { path = "data/helpful.jsonl" }
    [env.graders.follows]
    kind = "instructions"
    [env.graders.style]
    kind = "judge"
    args = { judge = "helper", kind = "scale" }
    [env.reward]
    kind = "lexicographic"
    parts = ["follows", "style"]

A row has a `prompt` (or `question`, `problem`, or `messages`, of which a last one by the assistant
is not shown and is the column `reference`), and beside it any columns that graders read: `answer`,
`criteria`, `instructions`, `tests`, `severity` and so on. `labels` say what a task is, for figures
by part. Rows of AdvancedIF are read as they ship.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from munro.envs.base import SingleTurn
from munro.envs.data.columns import Row, is_conversation, lacks, messages_of, text_of
from munro.envs.data.guess import is_answered, last_text
from munro.envs.data.published import as_ours
from munro.envs.data.rows import Rows, by_last_message, open_rows, parted
from munro.envs.types import Message, Task
from munro.rewards.types import Grade

OWN_COLUMNS = ("prompt", "messages", "id", "gold")
ASKED = ("prompt", "question", "problem", "instruction", "query")
"""Names of the column that is asked, where there are no messages; the first that is there."""


class Prompts(SingleTurn):
    """Prompts from JSONL, Parquet, the hub or the TOML itself, for graders that the TOML names."""

    name = "prompts"
    file_args: ClassVar[tuple[str, ...]] = ("path", "test_path")
    needs_graders: bool = True

    def __init__(
        self,
        path: str = "",
        prompts: Sequence[Mapping[str, Any]] = (),
        subset: str = "",
        split: str = "train",
        test_path: str = "",
        test_split: str = "",
        test_share: float = 0.1,
        template: str = "{prompt}",
    ) -> None:
        """Read the rows once, to check each of them and to part training from testing.

        Args:
            path: a .jsonl, .csv or .parquet file, or the name of a data set on the hub.
            prompts: rows given right here, instead of `path`.
            subset: of a data set on the hub.
            split: of a data set on the hub, to train on.
            test_path: a file of held-out rows.
            test_split: of a data set on the hub, held out.
            test_share: where neither is given, this share of the prompts is held out.
            template: what the model sees of a `prompt`, with {prompt} in it.
        """
        if bool(path) == bool(prompts):
            raise ValueError("give either a path or prompts.")
        if "{prompt}" not in template:
            raise ValueError(f"template = {template!r}: it must hold {{prompt}}.")
        self._template = template
        rows = _Inline(prompts) if prompts else open_rows(path, subset, split)
        held_out = None
        if test_path or test_split:
            held_out = open_rows(test_path or path, subset, test_split or split)
        self._train, self._test = parted(
            partial(by_last_message, self.task), rows, held_out, test_share
        )

    def tasks(self, split: str) -> Sequence[Task]:
        """The rows of one side, each made into a task when it is drawn."""
        return self._train if split == "train" else self._test

    def grade(self, task: Task, reply: str) -> Grade:
        """Never asked: graders grade."""
        raise NotImplementedError("prompts has no grade of its own: name graders in the TOML")

    def gold_reply(self, task: Task) -> str | None:
        """The column `gold`, where there is one."""
        gold = task.payload.get("gold")
        return None if gold is None else str(gold)

    def task(self, row: Row, place: str) -> Task:
        """One row as a task. `place` ("file:line") names it where it is unusable."""
        row = as_ours(row, place)
        messages = _messages(row, place, self._template)
        last = messages[-1].content
        # empty columns of a table are what other rows have
        brought = {key: value for key, value in row.items() if not _is_empty(value)}
        payload = {key: value for key, value in brought.items() if key not in OWN_COLUMNS}
        if "gold" in brought:
            payload["gold"] = brought["gold"]
        if is_answered(brought.get("messages")):
            payload.setdefault("reference", last_text(brought["messages"]))
        asked = brought.get("prompt")
        payload.setdefault("question", asked if isinstance(asked, str) else last)
        labels = payload.pop("labels", {})
        if not isinstance(labels, Mapping):
            raise ValueError(f"{place}: labels = {labels!r:.60} must be a table of texts.")
        return Task(
            id=text_of(row, "id", place) if "id" in brought else place.rpartition(":")[2],
            messages=messages,
            payload=payload,
            labels={str(name): str(value) for name, value in labels.items()},
        )


class _Inline(Rows):
    """Rows that stand in the TOML."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: Any) -> Any:
        return self._rows[number]

    def place(self, number: int) -> str:
        return f"prompts:{number}"


def _is_empty(value: Any) -> bool:
    """Nothing, as JSON or as a table of numbers writes it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _messages(row: Row, place: str, template: str) -> tuple[Message, ...]:
    """The opening conversation of a row."""
    if not isinstance(row, Mapping):
        raise ValueError(f"{place} is not a table with a prompt.")
    given = row.get("messages")
    if given is not None:
        return messages_of(given[:-1] if is_answered(given) else given, "messages", place)
    column = next((name for name in ASKED if not _is_empty(row.get(name))), "prompt")
    if is_conversation(row.get(column)):
        return messages_of(row[column], column, place)
    if column not in row:
        raise ValueError(f"{place} {lacks(column, [str(name) for name in row])}")
    text = text_of(row, column, place).strip()
    return (Message(role="user", content=template.replace("{prompt}", text)),)
