"""Many agents on the real sandbox, whose boxes are killed from outside: `agents/crowd.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CROWD = Path(__file__).parents[3] / "benchmarks" / "agents" / "crowd.py"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_crowd_loses_boxes_and_neither_scores_nor_leaves_anything():
    done = subprocess.run(
        [
            sys.executable, CROWD, "--attempts", "20", "--turns", "20", "--slow", "0.5",
            "--most-open", "6", "--kill-every", "0.4", "--retries", "20", "--most-own", "1",
        ],
        capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["attempts"], told["wrong"], told["boxes_peak"]) == (20, 0, 6)
    assert told["resumed"] > 3, "the test says nothing"
    assert (told["processes_left"], told["layers_left"]) == (0, 0)
    # a box is an interpreter that is shared and a shell, not a copy of everything
    assert told["boxes_peak_mb"] < 6 * 64
