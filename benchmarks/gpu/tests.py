"""The tests that need a card and neither Ray nor vLLM."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gpu.rows import Rows

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("tests/kernels", "tests/rl/policy", "tests/base_model")


def run(rows: Rows, *, smoke: bool) -> None:
    if smoke:
        rows.note(skipped="no card")
        return
    pytest = [sys.executable, "-m", "pytest", "-q", "-m", "gpu and not vllm", "--tb=short"]
    done = subprocess.run(
        [*pytest, "-p", "no:cacheprovider", *FOLDERS],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    print(done.stdout[-6000:], done.stderr[-1000:])
    rows.note(said=(done.stdout.strip().splitlines() or done.stderr.strip().splitlines())[-1])
