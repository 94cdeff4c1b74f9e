"""The rollout store as rows of texts, as many at a time as memory does not notice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from munro.evaluation.thoughts.types import BadThoughts, Rows
from munro.rollout.store.store import RolloutStore, field

COLUMNS = ("step", "index", "task_id", "prompt", "messages", "reply", "num_sampled")
AT_ONCE = 4096
"""Rows that are looked at together."""
BYTES_AT_ONCE = 64 * 2**20


def steps_of(folder: Path) -> list[int]:
    """Steps that are stored.

    Raises:
        BadThoughts: none are.
        StoreError: a file is damaged.
    """
    steps = RolloutStore(folder).steps()
    if not steps:
        raise BadThoughts(f"{folder} holds no rollouts: this run has not finished a step.")
    return steps


def read_rows(
    folder: Path,
    *,
    steps: Sequence[int] | None = None,
    traces: Sequence[str] | None = None,
    on_cut: Callable[[str], None] | None = None,
) -> Iterator[Rows]:
    """All attempts, in the order of the store.

    Args:
        folder: of the store.
        steps: those alone.
        traces: those alone.
        on_cut: told in a sentence of every file whose end is missing.

    Raises:
        StoreError: a file is damaged.
    """
    where = None if traces is None else field("trace").isin(list(traces))
    columns = COLUMNS if traces is None else (*COLUMNS, "trace")
    waiting: list[pa.RecordBatch] = []
    for batch in RolloutStore(folder).batches(columns, where, steps=steps, on_cut=on_cut):
        for start in range(0, batch.num_rows, AT_ONCE):
            waiting.append(batch.slice(start, AT_ONCE))
            # loose steps come a group at a time, of which each alone would cost as much as many
            if sum(one.num_rows for one in waiting) >= AT_ONCE or _size(waiting) > BYTES_AT_ONCE:
                yield rows_of(pa.Table.from_batches(waiting))
                waiting = []
    if waiting:
        yield rows_of(pa.Table.from_batches(waiting))


def _size(batches: Sequence[pa.RecordBatch]) -> int:
    return sum(int(one.get_total_buffer_size()) for one in batches)


def rows_of(batch: pa.Table) -> Rows:
    """Some of the store, its texts and calls taken out of their JSON."""
    column = {name: batch.column(name) for name in COLUMNS}
    said = [
        _said(messages, reply)
        for messages, reply in zip(
            column["messages"].to_pylist(), column["reply"].to_pylist(), strict=True
        )
    ]
    return Rows(
        step=_numbers(column["step"]),
        group=_numbers(column["index"]),
        text=[text for text, _ in said],
        tokens=_numbers(column["num_sampled"]).astype(np.float64),
        calls=[calls for _, calls in said],
        prompt=column["prompt"].to_pylist(),
        task=column["task_id"].to_pylist(),
    )


def _said(messages: str, reply: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """All that the policy wrote, and its calls."""
    own: list[Mapping[str, Any]] = [
        one for one in json.loads(messages) if one["role"] == "assistant"
    ]
    if not own:
        return reply, ()
    # runs of before said in their content all that was written
    texts = [one.get("raw") or one["content"] for one in own]
    calls = tuple(
        (str(call["name"]), str(call["arguments"]))
        for one in own
        for call in one.get("tool_calls") or ()
    )
    return texts[0] if len(texts) == 1 else "\n\n".join(texts), calls


def _numbers(column: Any) -> Any:
    return column.to_numpy(zero_copy_only=False).astype(np.int64)
