"""A climb whose two learner ranks die while they save goes on from the checkpoint before."""

from __future__ import annotations

import time

import pytest

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.whole import drafts_of
from tests.machine.climbing import kill_hard, munro, start, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]


def kill_while_writing(driver, folder, within_s=600):
    """kill -9 of all once the pieces of that checkpoint are being written."""
    end = time.monotonic() + within_s
    while not drafts_of(folder):
        assert driver.poll() is None, driver.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.001)
    kill_hard(driver)


def test_it_goes_on_and_its_checkpoints_are_models_once_they_are_exported(tmp_path):
    recipe = str(write_recipe(tmp_path, "two"))
    run = tmp_path / "runs" / "two"
    often = ("--checkpoint.every_steps", "2", "--eval.every_steps", "0", "--num_steps", "6")
    arguments = ("climb", recipe, "--learner.ranks", "2", *often)
    driver = start(*arguments)
    kill_while_writing(driver, run / "checkpoints" / "step-000004")
    assert Checkpoint(run / "checkpoints" / "step-000002").can_resume

    done = munro(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "after step 2" in done.stdout + done.stderr or "after step 4" in done.stdout + done.stderr
    )
    last = run / "checkpoints" / "step-000006"
    assert Checkpoint(last).exists
    assert not list((run / "checkpoints").glob(".step-*"))

    (last / "model.safetensors").unlink()
    asked = ("eval", "--model", str(last), "--tasks", "2", "--runs", "1")
    refused = munro(*asked, "--out", str(tmp_path / "eval"))
    assert refused.returncode != 0
    assert f"munro export {run} 6" in refused.stdout + refused.stderr
    assert munro("export", str(run), "6").returncode == 0
    held = munro(*asked, "--out", str(tmp_path / "eval"))
    assert held.returncode == 0, held.stdout + held.stderr
