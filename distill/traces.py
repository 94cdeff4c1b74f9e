"""One stored attempt, as far as filters and lessons look at it, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from munro.distill.select import Index
from munro.distill.sources import Source, stores_of
from munro.envs.data.transcripts import as_data
from munro.envs.types import Message, ToolCall
from munro.rewards.trajectory import Conduct, conduct_of, transcript_of
from munro.rollout.store.rows import pairs

COLUMNS = (
    "step", "index", "attempt", "env", "task_id", "task", "messages", "reply", "ending", "solved",
    "grade_parts", "reward_total", "token_ids", "sampled", "forks", "calls",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One stored attempt.

    Example:
        Trace(row=0, name="stem:1/0/0", env="arithmetic", task={"id": "1+2", "messages": []},
              messages=(), reply="3", ending="answered", solved=True, parts={}, reward=1.0,
              token_ids=np.array([5, 7]), sampled=np.array([False, True]))
    """

    row: int
    """Its row in the index that it was asked for by."""
    name: str
    """Its id there."""
    env: str
    task: dict[str, Any]
    """As stored: "id", "messages", "tools", ..."""
    messages: tuple[Message, ...]
    """After the opening ones: policy turns and observations."""
    reply: str
    """Text of the last policy turn."""
    ending: str
    solved: bool
    parts: dict[str, float]
    """Of the grade."""
    reward: float
    token_ids: NDArray[np.int32]
    sampled: NDArray[np.bool_]
    """One per token: what the policy wrote."""
    forks: tuple[tuple[int, int], ...] = ()
    """Of its tokens, where a template had rewritten earlier turns; see `munro.rollout.branches`."""
    calls: tuple[dict[str, Any], ...] = ()
    """The record of its calls of tools, as stored; none of what was stored without one."""

    @property
    def prompt_key(self) -> str:
        """The same for all attempts at one task."""
        return f"{self.env}\x1f{self.task['id']}"

    @property
    def opening(self) -> tuple[Message, ...]:
        """The task's own messages."""
        return tuple(message_of(fields) for fields in self.task["messages"])

    @property
    def prompt(self) -> str:
        """Text of the opening."""
        return "\n\n".join(message.content for message in self.opening)

    @cached_property
    def conduct(self) -> Conduct:
        """How it went about its work, by rules."""
        given = ({**each, "given": True} for each in as_data(self.opening, thoughts=False))
        whole = [*given, *as_data(self.messages, thoughts=False)]
        return conduct_of(transcript_of(whole, self.calls))

    @cached_property
    def said(self) -> str:
        """Everything that the policy wrote, its calls of tools included."""
        own = [message for message in self.messages if message.role == "assistant"]
        texts = [
            message.raw
            or "\n".join([message.content, *(call.arguments for call in message.tool_calls)])
            for message in own
        ]
        return "\n".join(texts) if own else self.reply


def message_of(fields: dict[str, Any]) -> Message:
    """A message as the store has it."""
    calls = tuple(ToolCall(**call) for call in fields.get("tool_calls", ()))
    return Message(**{**fields, "tool_calls": calls})


def read_traces(
    sources: Sequence[Source],
    index: Index,
    *,
    dropped: bool = False,
    on_cut: Callable[[str], None] | None = None,
) -> Iterator[Trace]:
    """Every trace of the index, source by source in the order of the store.

    A few are in memory at a time; what is not in the index is not turned into Python.

    Args:
        sources: in the order of `index.sources`.
        index: of the traces wanted.
        dropped: see `munro.distill.sources.stores_of`.
        on_cut: see `RolloutStore.batches`.
    """
    names = index.names()
    for number, source in enumerate(sources):
        own = np.flatnonzero(index.source == number)
        by_step = _by_step(index, own)
        for store, there in stores_of(source, sorted(by_step), dropped=dropped):
            for batch in store.batches(COLUMNS, steps=there, on_cut=on_cut):
                for row, place in _wanted(batch, by_step):
                    yield _trace(row, names[row], batch.slice(place, 1))


def _by_step(index: Index, rows: NDArray[np.int64]) -> dict[int, dict[tuple[int, int], int]]:
    """Rows of the index by step, then by place and attempt."""
    found: dict[int, dict[tuple[int, int], int]] = {}
    columns = (index.step, index.place, index.attempt)
    for row, *key in zip(rows.tolist(), *(c[rows].tolist() for c in columns), strict=True):
        found.setdefault(key[0], {})[key[1], key[2]] = row
    return found


def _wanted(
    batch: pa.RecordBatch, by_step: dict[int, dict[tuple[int, int], int]]
) -> Iterator[tuple[int, int]]:
    """(row of the index, row of the batch) of what is both."""
    keys = zip(*(batch.column(name).to_pylist() for name in COLUMNS[:3]), strict=True)
    for at, (step, place, attempt) in enumerate(keys):
        row = by_step[step].get((place, attempt))
        if row is not None:
            yield row, at


def _trace(row: int, name: str, stored: pa.RecordBatch) -> Trace:
    plain = stored.drop_columns(["token_ids", "sampled"]).to_pylist()[0]
    return Trace(
        row=row,
        name=name,
        env=plain["env"],
        task=json.loads(plain["task"]),
        messages=tuple(message_of(fields) for fields in json.loads(plain["messages"])),
        reply=plain["reply"],
        ending=plain["ending"],
        solved=plain["solved"],
        parts=json.loads(plain["grade_parts"]),
        reward=plain["reward_total"],
        token_ids=stored.column("token_ids")[0].values.to_numpy(),
        sampled=stored.column("sampled")[0].values.to_numpy(zero_copy_only=False),
        forks=pairs(plain["forks"]),
        calls=tuple(json.loads(plain["calls"] or "[]")),
    )
