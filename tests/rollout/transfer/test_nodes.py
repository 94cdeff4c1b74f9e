"""Learner and servers on hosts that share no folder, with failures while weights are under way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        os.getuid() != 0 or shutil.which("ip") is None,
        reason="only root can make network namespaces, with iproute2",
    ),
]


def test_weights_reach_other_hosts_and_nobody_waits_for_the_lost() -> None:
    script = ROOT / "benchmarks" / "scale" / "transfer_nodes.py"
    done = subprocess.run(
        [sys.executable, str(script), "--repeats", "3", "--width", "256"],
        env=os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    whole = [row for row in rows if row.get("check") in ("plain", "relay")]
    assert len(whole) == 3
    for row in whole:
        assert row["proof_nats"] <= 1e-4
        assert row["wire_by_plan"] <= 1.02
    disturbed = [row for row in rows if row.get("check") == "random"]
    assert len(disturbed) == 3
    assert all(row["in_the_middle"] for row in disturbed)
    assert not any(row["torn_answers"] for row in disturbed)
