"""A climb whose two learner ranks die while they save goes on from the checkpoint before."""

from __future__ import annotations

import re
import time

import pytest

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.whole import drafts_of
from tests.machine.climbing import kill_hard, munro, start, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1800)]


def kill_while_writing(driver, checkpoints, within_s=600):
    """kill -9 of all once the pieces of any checkpoint after the first are being written.

    Which it is depends on the machine: what is due while another is written waits for a later step.
    """
    end = time.monotonic() + within_s
    first, later = checkpoints / "step-000002", [checkpoints / f"step-{n:06}" for n in range(3, 7)]
    while not (first.exists() and any(map(drafts_of, later))):
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
    kill_while_writing(driver, run / "checkpoints")
    assert Checkpoint(run / "checkpoints" / "step-000002").can_resume

    done = munro(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"after step [2-6]", done.stdout + done.stderr), done.stdout + done.stderr
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
