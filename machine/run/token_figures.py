"""What the learner says of single tokens, for those steps of which somebody asked.

    tokens/step-000040.parquet      a row an attempt: the log-probability of each sampled token for
                                    the weights that the step began from, and the clip it was under

`munro replay --tokens` writes them, for a climb keeps only their sums; `munro watch` shows them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from munro.machine.run.files import explained
from munro.rl.clip import Clip

FOLDER = "tokens"
SCHEMA = pa.schema(
    [("index", pa.int64()), ("attempt", pa.int32()), ("logp", pa.list_(pa.float32()))]
)
BOUNDS = ("low", "high", "outer")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFigures:
    """Of one attempt."""

    logp: NDArray[np.float32]
    """(S,) of its sampled tokens, by the learner."""
    low: float
    high: float
    outer: float

    def clipped(self, ratio: float, advantage: float) -> str:
        """The bound that holds a token and takes its gradient; empty for none.

        As `munro.rl.loss` counts them, where the outer bound is beyond the trust region.
        """
        if advantage < 0 and ratio < self.low:
            return "low"
        if advantage > 0 and ratio > self.high:
            return "high"
        return "outer" if advantage < 0 and ratio > self.outer else ""


def write(
    run: Path, step: int, rows: Iterable[tuple[int, int, NDArray[np.float32]]], clip: Clip
) -> Path:
    """Keep (index, attempt, logp) of a step's attempts.

    Raises:
        RunError: the disk is full or not writable.
    """
    path = _file(run, step)
    columns = [
        pa.array(column, field.type)
        for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)
    ]
    bounds = {name: repr(float(getattr(clip, name))) for name in BOUNDS}
    table = pa.table(columns, schema=SCHEMA.with_metadata(bounds))
    draft = path.with_name(f".{path.name}.part")
    with explained(path):
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, draft, compression="zstd")
        draft.replace(path)
    return path


def read(run: Path, step: int, index: int, attempt: int, num_sampled: int) -> TokenFigures | None:
    """Of one attempt; None where they were never computed, or belong to other tokens."""
    path = _file(run, step)
    try:
        table = pq.read_table(path, filters=[("index", "=", index), ("attempt", "=", attempt)])
        bounds = {name: float(pq.read_schema(path).metadata[name.encode()]) for name in BOUNDS}
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        return None
    found = table.column("logp").to_pylist()
    if len(found) != 1 or len(found[0]) != num_sampled:
        return None
    return TokenFigures(logp=np.array(found[0], np.float32), **bounds)


def drop_after(run: Path, step: int) -> None:
    """Forget what belongs to tokens that a resumed run is about to sample again.

    Raises:
        RunError: the folder is not writable.
    """
    for file in (run / FOLDER).glob("step-*.parquet"):
        if int(file.stem.removeprefix("step-")) > step:
            with explained(file):
                file.unlink()


def _file(run: Path, step: int) -> Path:
    return run / FOLDER / f"step-{step:06d}.parquet"
