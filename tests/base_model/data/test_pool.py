"""Workers end in order, whatever happens to them or to their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from munro.base_model.data.errors import DataError
from munro.base_model.data.pool import Pool


def _die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_dies_is_a_sentence() -> None:
    with (
        Pool(2, worker_gb=8) as pool,
        pytest.raises(DataError, match=r"a worker process died, .* fewer workers"),
    ):
        list(pool.each(_die, [1, 2]))


ORPHANED = """
import os, sys, time
from munro.base_model.data.pool import Pool
from tests.base_model.data.orphan import pid_then_wait

if __name__ == "__main__":
    with Pool(2, worker_gb=8) as pool:
        for pid in pool.each(pid_then_wait, [0, 60, 60, 60]):
            print(pid, flush=True)
"""


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(ORPHANED)
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{root}/src:{root}"}
    with subprocess.Popen(
        [sys.executable, str(script)], cwd=root, env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()
