"""Kill -9 anywhere and resume: loss, gradient norm and weights as if nothing had been."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from munro.base_model.training.goodput import LEDGER, read_goodput
from munro.base_model.training.pretrain import METRICS
from tests.base_model.killed import KILLED_AFTER
from tests.base_model.trainable import KINDS

pytestmark = pytest.mark.slow  # `test_pretrain` does the same within one process

ROOT = Path(__file__).parents[3]
TIMED = {"tokens_per_s", "seconds_left", "time/step"}


@pytest.fixture(scope="module", params=KINDS)
def runs(request, tmp_path_factory):
    """Folders by what was done to the run, made in one process for its imports."""
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.base_model.killed", str(folder), request.param],
        env=os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / METRICS).read_text().splitlines())
    return [{key: line[key] for key in line if key not in TIMED} for line in lines]


def checksum(folder: Path) -> str:
    return sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("kill_after", KILLED_AFTER)
def test_a_killed_and_resumed_run_is_bitwise_one_that_was_left_alone(runs, kill_after):
    whole, killed = runs / "whole", runs / f"killed-{kill_after}"
    assert len(metrics(whole)) == 12
    assert metrics(killed) == metrics(whole)
    assert checksum(killed) == checksum(whole)
    assert not (killed / "unfinished").exists()


def test_the_ledger_of_a_killed_run_adds_up_and_tells_what_was_lost(runs):
    file = runs / f"killed-{KILLED_AFTER[-1]}" / LEDGER
    records = [json.loads(line) for line in file.read_text().splitlines()]
    found = read_goodput(file)
    assert found.wall == records[-1]["at"] - records[0]["at"]
    steps = [record["step"] for record in records if record["span"] == "step"]
    assert len(steps) > 12
    lost = len(steps) - len({*steps})
    assert lost in {11 - 8, 11 - 4}  # the checkpoint of step 8 may not have been whole
    assert min(found.ideal, found.recomputation, found.start, found.checkpoint, found.down) > 0


def test_an_uninterrupted_run_lost_nothing(runs):
    found = read_goodput(runs / "whole" / LEDGER)
    assert (found.recomputation, found.down) == (0, 0)
