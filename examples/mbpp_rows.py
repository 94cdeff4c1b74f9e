"""MBPP as rows of the environment `code`: python examples/mbpp_rows.py FOLDER

Reads google-research-datasets/mbpp from the Hugging Face hub (a person writes what a function shall
do, and three assertions) and writes FOLDER/mbpp.jsonl to train on and FOLDER/mbpp_test.jsonl, which
is the data set's own test split. A function's name stands in its tests alone, so one of them is
shown; all of them grade.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

NAME = "google-research-datasets/mbpp"
SPLITS = {"mbpp.jsonl": "train", "mbpp_test.jsonl": "test"}


def row_of(problem: Mapping[str, Any]) -> dict[str, Any]:
    """One problem of MBPP, as `munro.envs.code` reads it.

    Example:
        row_of({"task_id": 2, "text": "Write f.", "code": "...", "test_list": ["assert f()"]})
    """
    setup = str(problem.get("test_setup_code") or "").strip()
    tests = [f"{setup}\n{test}".strip() for test in problem["test_list"]]
    shown = problem["test_list"][0]
    return {
        "id": str(problem["task_id"]),
        "prompt": f"{problem['text'].strip()}\n\nIt must pass tests such as:\n\n{shown}",
        "tests": [{"source": test} for test in tests],
        "language": "python",
        "solution": problem["code"].replace("\r\n", "\n"),
    }


def write(problems: Iterable[Mapping[str, Any]], file: Path) -> int:
    """Write one row a line; how many."""
    rows = [json.dumps(row_of(problem)) for problem in problems]
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return len(rows)


def main(folder: Path) -> None:
    """Fetch the data set and write its splits."""
    from datasets import load_dataset

    folder.mkdir(parents=True, exist_ok=True)
    for name, split in SPLITS.items():
        num = write(load_dataset(NAME, split=split), folder / name)
        sys.stdout.write(f"wrote {num} problems to {folder / name}\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/mbpp_rows.py FOLDER")
    main(Path(sys.argv[1]))
