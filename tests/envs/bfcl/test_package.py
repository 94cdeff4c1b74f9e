"""The real package's tasks, all of them: what `benchmarks/agents/bfcl.py` must show."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.envs.bfcl.installed import bfcl_eval

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "agents" / "bfcl.py"


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_gold_passes_nothing_does_not_and_verdicts_are_the_packages_own():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--data", bfcl_eval(), "--damaged", "1"],
        capture_output=True, text=True, check=False, timeout=1400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["conversations"], told["parallel"], told["restraint"]) == (800, 400, 1124)
    assert told["unchanged"] > 0, "no task needs the check of answers"
    assert told["peer_agrees"] == told["conversations"]
    assert told["wrong_peer_agrees"] == told["wrong"]
    assert told["matched_peer_agrees"] == told["matched_wrong"]
