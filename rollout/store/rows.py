"""Groups as rows of the rollout store and back, every array bit by bit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from munro.envs.budget import Budget
from munro.envs.types import CallRecord, Ending, KeptTokens, Message, Task, ToolCall, Trajectory
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade
from munro.rollout.types import Attempt, Group

ARRAYS: dict[str, pa.DataType] = {
    "token_ids": pa.int32(),
    "sampled": pa.bool_(),
    "behaviour_logp": pa.float32(),
    "versions": pa.int32(),
    "kept_ids": pa.int32(),
    "kept_starts": pa.int32(),
    "routed_experts": pa.int16(),
}
TEXT = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        ("trace", pa.string()),
        ("step", pa.int32()),
        ("env", TEXT),
        ("task_id", TEXT),
        ("index", pa.int64()),
        ("attempt", pa.int32()),
        ("task", TEXT),
        ("prompt", TEXT),
        ("messages", pa.string()),
        ("reply", pa.string()),
        ("ending", TEXT),
        ("num_tokens", pa.int32()),
        ("num_sampled", pa.int32()),
        ("num_cut", pa.int32()),
        ("oldest_version", pa.int32()),
        ("solved", pa.bool_()),
        ("passed", pa.bool_()),
        ("grade", pa.float64()),
        ("grade_parts", pa.string()),
        ("reason", pa.string()),
        ("reward_task", pa.float64()),
        ("reward_language", pa.float64()),
        ("reward_length", pa.float64()),
        ("reward_repetition", pa.float64()),
        ("reward_truncation", pa.float64()),
        ("reward_total", pa.float64()),
        ("advantage", pa.float64()),
        ("pass_rate", pa.float64()),
        ("early_pass_rate", pa.float64()),
        ("num_unscored", pa.int32()),
        ("seconds", pa.string()),
        ("experts_shape", pa.list_(pa.int32())),
        ("forks", pa.list_(pa.int32())),
        ("calls", pa.string()),
        ("given_up", TEXT),
        *((name, pa.list_(kind)) for name, kind in ARRAYS.items()),
    ]
)
"""Columns of a file. `trace` names a trajectory in a run: "step/index/attempt"; `solved` is the
verdict that pass rates count, `passed` the grader's own, null where it has none; `prompt` is the
opening conversation as text; `task`, `messages`, `grade_parts`, `seconds` and `calls` are JSON.
`forks` holds the pairs of `Trajectory.forks` end to end, null for one growing stream; `calls` the
records of `Trajectory.calls`, null where nothing was called; `given_up` why a group was dropped,
null where it was not, and `advantage` is null where nothing was learned."""


def table(
    step: int, group: Group, advantages: Sequence[float | None], given_up: str | None = None
) -> pa.Table:
    """One group of `step` as rows, an attempt each, with the advantage of each attempt."""
    budget = group.task.budget
    said = None if budget is None else budget.model_dump(exclude_none=True)
    task = _json(asdict(group.task) | {"budget": said})
    shared = {
        "step": step,
        "env": group.task.env,
        "task_id": group.task.id,
        "index": group.index,
        "task": task,
        "prompt": "\n\n".join(message.content for message in group.task.messages),
        "pass_rate": group.pass_rate,
        "early_pass_rate": group.early_pass_rate,
        "num_unscored": group.num_unscored,
        "seconds": _json(group.seconds),
        "given_up": given_up,
    }
    rows = [
        shared
        | _row(attempt)
        | {"trace": f"{step}/{group.index}/{place}", "attempt": place, "advantage": advantage}
        for place, (attempt, advantage) in enumerate(zip(group.attempts, advantages, strict=True))
    ]
    told = [attempt.trajectory for attempt in group.attempts]
    columns: dict[str, list[NDArray[Any] | None]] = {
        "token_ids": [one.token_ids for one in told],
        "sampled": [one.sampled for one in told],
        "behaviour_logp": [one.behaviour_logp for one in told],
        "versions": [one.versions for one in told],
        "kept_ids": [one.kept.ids for one in told],
        "kept_starts": [one.kept.starts for one in told],
        "routed_experts": [
            None if one.routed_experts is None else one.routed_experts.reshape(-1) for one in told
        ],
    }
    return pa.table(
        [
            _ragged(columns[name], ARRAYS[name])
            if name in columns
            else pa.array([row[name] for row in rows], SCHEMA.field(name).type)
            for name in SCHEMA.names
        ],
        schema=SCHEMA,
    )


def completed(rows: pa.Table) -> pa.Table:
    """Rows with every column of `SCHEMA`: null in those that were stored before it was there."""
    for name in SCHEMA.names:
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, SCHEMA.field(name).type))
    return rows.select(SCHEMA.names)


def _row(attempt: Attempt) -> dict[str, Any]:
    told, grade, reward = attempt.trajectory, attempt.grade, attempt.reward
    experts = told.routed_experts
    return {
        "messages": _json([asdict(message) for message in told.messages]),
        "reply": told.reply,
        "ending": told.ending.value,
        "num_tokens": len(told.token_ids),
        "num_sampled": told.num_sampled,
        "num_cut": told.num_cut,
        "oldest_version": told.oldest_version,
        "solved": grade.solved,
        "passed": grade.passed,
        "grade": grade.reward,
        "grade_parts": _json(grade.parts),
        "reason": grade.reason,
        "reward_task": reward.task,
        "reward_language": reward.language,
        "reward_length": reward.length,
        "reward_repetition": reward.repetition,
        "reward_truncation": reward.truncation,
        "reward_total": reward.total,
        "experts_shape": None if experts is None else list(experts.shape),
        "forks": [place for fork in told.forks for place in fork] or None,
        "calls": _json([asdict(one) for one in told.calls]) if told.calls else None,
    }


def _ragged(arrays: Sequence[NDArray[Any] | None], kind: pa.DataType) -> pa.ListArray:
    """One list per row, straight from the arrays' memory."""
    lengths = [0 if array is None else len(array) for array in arrays]
    starts = np.zeros(len(arrays) + 1, np.int32)
    np.cumsum(lengths, out=starts[1:])
    present = [array for array in arrays if array is not None]
    values = np.concatenate(present) if present else np.zeros(0, kind.to_pandas_dtype())
    is_missing = pa.array([array is None for array in arrays])
    return pa.ListArray.from_arrays(starts, pa.array(values, kind), mask=is_missing)


def groups(rows: pa.Table) -> Iterator[Group]:
    """The groups of one step again, from all of its rows in the order they were written."""
    if not rows.num_rows:
        return
    index = rows.column("index").to_numpy()
    begins = [0, *(np.flatnonzero(np.diff(index)) + 1).tolist(), len(index)]
    for first, last in pairwise(begins):
        yield _group(rows.slice(first, last - first))


def _group(rows: pa.Table) -> Group:
    (batch,) = rows.combine_chunks().to_batches()
    arrays = {name: _split(batch.column(name)) for name in ARRAYS}
    # what was stored before a column was there lacks it
    stored = [name for name in SCHEMA.names if name in batch.schema.names]
    plain = batch.select([name for name in stored if name not in ARRAYS]).to_pylist()
    first = plain[0]
    return Group(
        index=first["index"],
        task=_task(json.loads(first["task"])),
        attempts=tuple(
            _attempt(row, {name: column[place] for name, column in arrays.items()})
            for place, row in enumerate(plain)
        ),
        early_pass_rate=first["early_pass_rate"],
        num_unscored=first["num_unscored"],
        seconds=json.loads(first["seconds"]),
    )


def _split(column: pa.ListArray) -> list[NDArray[Any] | None]:
    values = column.values.to_numpy(zero_copy_only=False)
    starts = column.offsets.to_numpy()
    return [
        values[starts[row] : starts[row + 1]] if column[row].is_valid else None
        for row in range(len(column))
    ]


def _attempt(row: Mapping[str, Any], arrays: Mapping[str, Any]) -> Attempt:
    experts = arrays["routed_experts"]
    return Attempt(
        trajectory=Trajectory(
            token_ids=arrays["token_ids"],
            sampled=arrays["sampled"],
            behaviour_logp=arrays["behaviour_logp"],
            kept=KeptTokens(ids=arrays["kept_ids"], starts=arrays["kept_starts"]),
            versions=arrays["versions"],
            ending=Ending(row["ending"]),
            messages=tuple(_message(message) for message in json.loads(row["messages"])),
            reply=row["reply"],
            num_cut=row["num_cut"],
            routed_experts=None if experts is None else experts.reshape(row["experts_shape"]),
            forks=pairs(row.get("forks")),
            calls=tuple(CallRecord(**one) for one in json.loads(row.get("calls") or "[]")),
        ),
        grade=Grade(
            reward=row["grade"],
            passed=row["passed"],
            parts=json.loads(row["grade_parts"]),
            reason=row["reason"],
        ),
        reward=RewardBreakdown(
            task=row["reward_task"],
            language=row["reward_language"],
            length=row["reward_length"],
            # null where steps from before the column were packed together with later ones
            repetition=row.get("reward_repetition") or 0.0,
            truncation=row.get("reward_truncation") or 0.0,
            total=row["reward_total"],
        ),
    )


def pairs(stored: Sequence[int] | None) -> tuple[tuple[int, int], ...]:
    """The forks of a row; null, and what was stored before they were, has none."""
    numbers = iter(stored or ())
    return tuple(zip(numbers, numbers, strict=True))


def _task(fields: dict[str, Any]) -> Task:
    messages = tuple(_message(message) for message in fields.pop("messages"))
    budget = fields.pop("budget", None)
    if budget is not None:
        fields["budget"] = Budget.model_validate(budget)
    return Task(messages=messages, tools=tuple(fields.pop("tools")), **fields)


def _message(fields: dict[str, Any]) -> Message:
    calls = tuple(ToolCall(**call) for call in fields.pop("tool_calls"))
    return Message(tool_calls=calls, **fields)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
