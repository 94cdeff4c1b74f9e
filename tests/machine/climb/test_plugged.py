"""A climb with a loss, an advantage and a curriculum of the user's own, from their own folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.machine.climbing import command, rows, write_recipe
from tests.rl.plugged import SOURCE, install

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]


def test_a_loss_by_path_and_an_advantage_and_a_curriculum_by_entry_point(tmp_path: Path):
    recipe = write_recipe(tmp_path, "plugged")
    (tmp_path / "loss.py").write_text(SOURCE)
    path = os.pathsep.join([str(install(tmp_path / "site")), os.environ.get("PYTHONPATH", "")])
    asked = ["--num_steps", "2", "--learner.loss", "./loss.py:my_loss"]
    asked += ["--learner.advantage", "triple", "--length.curriculum", "jump"]
    done = subprocess.run(
        command("climb", str(recipe), *asked, "--length.stages", "[4, 8]"),
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last = rows(tmp_path / "runs" / "plugged")[-1]
    assert last["mine/tokens"] == 1.0
    assert {"policy/entropy", "clip/high", "learner/loss"} <= last.keys()
    assert rows(tmp_path / "runs" / "plugged")[1]["event"] == ["length cap 8"]


def test_a_wrong_signature_is_one_line_and_starts_nothing(tmp_path: Path):
    recipe = write_recipe(tmp_path, "wrong")
    (tmp_path / "loss.py").write_text("def my_loss(logp_T):\n    return logp_T.sum()\n")
    done = subprocess.run(
        command("climb", str(recipe), "--learner.loss", "./loss.py:my_loss"),
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode != 0
    assert "learner.loss = './loss.py:my_loss': my_loss(logp_T) does not take" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "runs" / "wrong" / "metrics.jsonl").exists()


@pytest.mark.parametrize("dry", [True, False])
def test_kernels_that_there_are_none_of_are_one_line_and_start_nothing(tmp_path: Path, dry: bool):
    recipe = write_recipe(tmp_path, "kernels")
    done = subprocess.run(
        command("climb", str(recipe), *(["--dry-run"] if dry else [])),
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "MUNRO_KERNELS": "foo"},
    )
    assert done.returncode != 0
    assert "MUNRO_KERNELS=foo names no twin of a kernel" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "runs" / "kernels" / "metrics.jsonl").exists()
