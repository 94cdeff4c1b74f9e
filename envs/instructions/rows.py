"""Rows of IFEval and IFBench, as they ship: a prompt, ids of instructions, arguments of each.

    {"key": "0", "prompt": "What is ...? Use at least 7 pronouns.",
     "instruction_id_list": ["count:pronouns"], "kwargs": [{"N": 7.0, "language": null}]}

Rows of your own may hold `instructions` instead, as `munro.rewards.instructions.checker` takes
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from munro.envs.data.columns import Row, is_conversation, it_has, messages_of, text_of
from munro.envs.data.rows import Rows, RowTasks, open_rows, place_of
from munro.envs.types import Message, Task
from munro.rewards.instructions import checkers

COLUMNS = ("instruction_id_list", "instructions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where rows come from; see the arguments of `Instructions`."""

    path: str = ""
    subset: str = ""
    split: str = "train"
    test_path: str = ""
    test_split: str = ""
    test_share: float = 0.1

    def sides(self) -> dict[str, RowTasks]:
        """The tasks of each split that files are given for; every row is checked.

        Raises:
            ValueError: there is no such file, or a row is unusable: which one, and why.
        """
        if not 0 <= self.test_share < 1:
            raise ValueError(f"test_share = {self.test_share}: give a share in [0, 1).")
        if self.test_split and not (self.path or self.test_path):
            raise ValueError("a test_split needs a path, or a test_path, that it is of.")
        found = {}
        share = 0 if self.test_path or self.test_split else int(self.test_share * 2**32)
        if self.path:
            rows = open_rows(self.path, self.subset, self.split)
            found["train"] = _tasks(rows, share, 2**32)
            found["test"] = _tasks(rows, 0, share)
        if self.test_path or self.test_split:
            where = self.test_path or self.path
            held_out = open_rows(where, self.subset, self.test_split or self.split)
            found["test"] = _tasks(held_out, 0, 2**32)
        return found


def row_task(row: Row, place: str) -> Task:
    """One row as a task.

    Raises:
        ValueError: it has no prompt or no instructions, or one of these is none.
    """
    if is_conversation(row.get("prompt")):
        messages = messages_of(row["prompt"], "prompt", place)
    else:
        messages = (Message(role="user", content=text_of(row, "prompt", place)),)
    return Task(
        id=text_of(row, "key", place) if row.get("key") is not None else place.rpartition(":")[2],
        messages=messages,
        payload={"instructions": _instructions(row, place)},
    )


def _instructions(row: Row, place: str) -> list[Mapping[str, Any]]:
    """The row's instructions as specs, checked."""
    column = next((name for name in COLUMNS if row.get(name) is not None), None)
    if column is None:
        raise ValueError(f"{place} has neither {' nor '.join(COLUMNS)}. {it_has(row)}")
    listed, kwargs = row[column], row.get("kwargs") if column == COLUMNS[0] else None
    for name, value in ((column, listed), ("kwargs", kwargs)):
        if value is not None and not _is_list(value):
            raise ValueError(f"{place}: {name} = {value!r:.60} must be a list.")
    if not listed:
        raise ValueError(f"{place}: {column} is empty: there is nothing to follow.")
    try:
        checkers(listed, kwargs)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    if column == "instructions":
        return [{"id": each} if isinstance(each, str) else each for each in listed]
    given: Iterable[Any] = kwargs if kwargs is not None else [{}] * len(listed)
    return [
        {"id": name, "kwargs": {key: value for key, value in of.items() if value is not None}}
        for name, of in zip(listed, (of or {} for of in given), strict=True)
    ]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _tasks(rows: Rows, least: int, bound: int) -> RowTasks:
    """Those rows whose last message falls in [least, bound) of 2 ** 32."""
    ours = (
        number
        for number, row in enumerate(rows)
        if least <= place_of(row_task(row, rows.place(number)).messages[-1].content) < bound
    )
    return RowTasks(row_task, rows, ours)
