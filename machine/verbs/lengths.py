"""`munro lengths`: usual answer lengths by context, from reference answers or from a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from munro.machine.loading import BadConfig
from munro.machine.verbs.json_lines import lines_of, parsed
from munro.rewards.length.usual import estimate
from munro.rollout.store.store import RolloutStore, StoreError, field


def run_lengths(source: Path, out: Path, low: float, high: float) -> str:
    """Write the ranges to `out`; what was written, in a sentence.

    Raises:
        BadConfig: there is nothing to take lengths from, or `out` cannot be written.
    """
    is_run = source.is_dir()
    unit = "tokens" if is_run else "words"
    try:
        lengths = list(_of_run(source) if is_run else _of_file(source))
        ranges = estimate(lengths, unit=unit, low=low, high=high)
        ranges.save(out)
    except (ValueError, OSError, StoreError) as error:
        raise BadConfig(f"{source}: {error}") from error
    shortest, longest = ranges.overall
    return (
        f"wrote {out}: {len(lengths):,} answers, {len(ranges.contexts):,} contexts with a range of "
        f"their own, elsewhere {shortest} to {longest} {unit}"
    )


def _of_run(run: Path) -> Iterator[tuple[str, int]]:
    """Attempts that passed, in the policy's tokens, by task."""
    store = RolloutStore(run / "rollouts")
    if not store.steps():
        raise ValueError("no rollouts are stored there")
    for row in store.scan(["task_id", "num_sampled"], field("solved")):
        yield row["task_id"], row["num_sampled"]


def _of_file(file: Path) -> Iterator[tuple[str, int]]:
    """Reference answers of a .jsonl file, in words."""
    for number, text in lines_of(file):
        try:
            row = parsed(text)
            yield _context(row), len(_response(row).split())
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _response(row: Mapping[str, Any]) -> str:
    response = row.get("response")
    if not isinstance(response, str):
        raise ValueError("'response' is missing, or no text: write the reference answer")
    return response


def _context(row: Mapping[str, Any]) -> str:
    context = row.get("context", row.get("task_id", ""))
    if isinstance(context, bool) or not isinstance(context, str | int):
        raise ValueError("'context' is no text and no whole number")
    return str(context)
