"""kill -9 in each stage of a scoring: the same command goes on, and leaves the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STAGES = {"attempts", "votes", "blind", "end"}
FILES = {
    *("questions.jsonl", "dropped.jsonl", ".munro-questions"),
    *(f"stages/{stage}.parquet" for stage in ("attempts", "votes", "blind")),
    *(f"stages/{stage}.dropped.parquet" for stage in ("attempts", "votes", "blind")),
}


def killed(folder: Path, times: int, how: str) -> dict[str, Any]:
    """What `killed.py` found: it compares the bytes."""
    module = "tests.questions.answers.killed"
    done = subprocess.run(
        [sys.executable, "-m", module, str(folder), str(times), how],
        capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


def test_killed_in_one_stage_after_another_it_leaves_the_same_bytes(tmp_path: Path) -> None:
    found = killed(tmp_path, 1, "one")
    assert found["deaths"] == dict.fromkeys(STAGES, 1)
    assert set(found["files"]) == FILES


@pytest.mark.slow
def test_killed_three_times_in_each_stage_it_leaves_the_same_bytes(tmp_path: Path) -> None:
    found = killed(tmp_path, 3, "each")
    assert found["deaths"] == dict.fromkeys(STAGES, 3)
    assert set(found["files"]) == FILES
