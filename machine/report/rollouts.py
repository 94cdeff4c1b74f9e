"""A sample of a run's rollouts, small enough to travel inside one page."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from munro.rollout.store.store import RolloutStore, StoreError, field

MOST_ROWS = 2000
MOST_FILES = 100
MOST_BYTES = 3_500_000
"""Of JSON, so that a page with its figures stays under 5 MB."""
HEAD, TAIL = 3000, 1500
"""Characters kept of a long text: how it opens, and how it ends, where the answer is."""
PER_GROUP = 4
MOST_TOOLS = 20
COLUMNS = {
    "step": "step",
    "env": "env",
    "task_id": "task_id",
    "index": "index",
    "attempt": "attempt",
    "prompt": "prompt",
    "messages": "messages",
    "reply": "reply",
    "solved": "passed",
    "grade_parts": "parts",
    "reason": "reason",
    "reward_task": "task",
    "reward_language": "language",
    "reward_length": "length",
    "reward_total": "total",
    "advantage": "advantage",
    "ending": "ending",
    "calls": "calls",
    "num_sampled": "tokens",
    "pass_rate": "pass_rate",
}
"""Column of the store to name in the page."""
NUMBERS = ("task", "language", "length", "total", "advantage", "pass_rate")

Row = dict[str, Any]
T = TypeVar("T")


def sample(folder: Path, *, most_rows: int = MOST_ROWS) -> dict[str, Any]:
    """Rollouts spread over the steps of a run.

    Args:
        folder: the store, `step-000012.parquet` and so on.
        most_rows: rows at the most.

    Returns:
        `rows`, `prompts` that rows point into by place, `total` rows in the files that were read,
        and `unreadable`, the steps whose files are damaged.
    """
    store = RolloutStore(folder)
    steps = _spread(store.steps(), MOST_FILES)
    rows: list[Row] = []
    unreadable: list[int] = []
    total = 0
    for step in steps:
        try:
            found, num_stored = _sample_step(store, step, max(1, most_rows // len(steps)))
        except StoreError:
            unreadable.append(step)
            continue
        total += num_stored
        rows += found
    packed = _pack(rows)
    while len(json.dumps(packed)) > MOST_BYTES:
        rows = rows[::2]
        packed = _pack(rows)
    return packed | {"total": total, "unreadable": unreadable}


def shortened(text: str) -> str:
    """A long text without its middle, saying how much of it is missing."""
    missing = len(text) - HEAD - TAIL
    if missing <= 0:
        return text
    return f"{text[:HEAD]}\n[… {missing:,} characters left out …]\n{text[-TAIL:]}"


def _sample_step(store: RolloutStore, step: int, most: int) -> tuple[list[Row], int]:
    """Some attempts of some groups, so that siblings can be compared; and how many there are.

    The texts of the groups that are not shown are never read.
    """
    sizes = Counter(row["index"] for row in store.scan(["index"], steps=[step]))
    chosen = _spread(sorted(sizes), max(1, most // PER_GROUP))
    each = max(min(most, PER_GROUP), most // max(1, len(chosen)))
    groups: dict[int, list[Row]] = {index: [] for index in chosen}
    for raw in store.scan(list(COLUMNS), field("index").isin(chosen), steps=[step]):
        groups[raw["index"]].append(_row(raw))
    return [row for group in groups.values() for row in _spread(group, each)], sizes.total()


def _row(raw: Row) -> Row:
    row: Row = {name: raw[column] for column, name in COLUMNS.items()}
    for name in NUMBERS:
        value = row[name]
        row[name] = round(value, 4) if value is not None and math.isfinite(value) else None
    row["calls"] = calls_in_words(json.loads(row["calls"] or "[]"))
    row["reply"] = conversation(json.loads(row.pop("messages"))) or row["reply"]
    for name in ("task_id", "prompt", "reply", "reason"):
        row[name] = shortened(row[name])
    parts = json.loads(row["parts"])
    row["parts"] = shortened(", ".join(f"{name} {value:.4g}" for name, value in parts.items()))
    return row


def calls_in_words(records: Sequence[Row]) -> str:
    """How often each tool was called, how often in vain, and what it took."""
    told = []
    for name, count in Counter(record["name"] for record in records).most_common(MOST_TOOLS):
        mine = [record for record in records if record["name"] == name]
        failed = sum(not record["ok"] for record in mine)
        seconds = sum(record["seconds"] for record in mine)
        wrong = f", {failed} failed" if failed else ""
        told.append(f"{shortened(name) or 'unreadable'} {count} ({seconds:.2f} s{wrong})")
    return ", ".join(told)


def conversation(messages: Sequence[Row]) -> str:
    """Several turns as one text, each under the name of who spoke; nothing for a single reply."""
    if len(messages) < 2:
        return ""
    turns = []
    for message in messages:
        calls = [f"{call['name']}({call['arguments']})" for call in message["tool_calls"]]
        # runs of before said in their content all that was written
        said = message.get("raw") or "\n".join([message["content"], *calls])
        turns.append(f"[{message['role']}]\n{said}")
    return "\n\n".join(turns)


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most `most` items, the first and the last among them, evenly between."""
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[-1]]
    return [items[round(at * (len(items) - 1) / (most - 1))] for at in range(most)]


def _pack(rows: Sequence[Row]) -> dict[str, Any]:
    places: dict[str, int] = {}
    packed = []
    for row in rows:
        place = places.setdefault(row["prompt"], len(places))
        packed.append({k: v for k, v in row.items() if k != "index"} | {"prompt": place})
    return {"rows": packed, "prompts": list(places)}
