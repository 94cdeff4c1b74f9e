"""A million stored attempts through `munro thoughts`: CPU time and memory.

    python benchmarks/thoughts/rows.py [--rows 1000000] [--words 70]

The store is made by the store's own code: one step of 10,000 attempts, written as every step. A
tenth of the replies check themselves from half-way on. The reading runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import pyarrow as pa  # noqa: E402

from munro.rollout.store import files, rows  # noqa: E402
from tests.evaluation.thoughts.stores import plain, store  # noqa: E402

A_STEP, EACH = 10_000, 16


def make(folder: Path, num_rows: int, words: int) -> None:
    """A store of so many rows."""
    chosen = random.Random(0)
    tables = []
    for is_late in (False, True):
        some = folder / f"some{is_late}"
        replies = [
            plain(chosen, words) + (" Wait, let me check." if is_late and at % 10 == 0 else "")
            for at in range(A_STEP)
        ]
        store(some, {1: replies}, each=EACH)
        with files.opened(some / "step-000001.parquet") as part:
            tables.append(rows.completed(part.read(1)))
    steps = num_rows // A_STEP
    for step in range(1, steps + 1):
        table = tables[step > steps // 2]
        at = table.schema.get_field_index("step")
        column = pa.array([step] * table.num_rows, table.schema.field("step").type)
        table = table.set_column(at, table.schema.field("step"), column)
        path = folder / "rollouts" / f"step-{step:06d}.parquet"
        path.parent.mkdir(exist_ok=True)
        files.write(path, [step], lambda table=table: iter([table]), most_groups=1)


def read(folder: Path) -> None:
    """What the command does, and what it took."""
    from munro.evaluation.thoughts.page import render
    from munro.evaluation.thoughts.report import features_of, look

    found = look(folder / "rollouts", features_of())
    page = render("rows", found)
    change = found.changes["checks_itself"]
    seconds = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    told = {"rows": found.num, "cpu_s": seconds, "peak_gib": peak, "page_bytes": len(page)}
    print(json.dumps(told | {"planted_at": change.step, "p": change.p}))


def main() -> None:
    """Make the store, read it, print what that took."""
    parser = argparse.ArgumentParser(description="a million rows")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--words", type=int, default=70, help="of a reply")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        read(args.read)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, args.rows, args.words)
        size = sum(file.stat().st_size for file in (folder / "rollouts").iterdir())
        print(f"{args.rows:,} rows, {size / 2**20:,.0f} MiB on the disk", flush=True)
        subprocess.run([sys.executable, __file__, "--read", name], check=True)


if __name__ == "__main__":
    main()
