"""A climb that is watched, and the short one that says what a step takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from munro.machine.climb.dry_run import plan
from munro.machine.climb.probe import probe, usual
from munro.machine.climb.watching import more, peaks
from munro.machine.loading import BadConfig, load
from tests.machine.climbing import munro, write_recipe

HOLD = """import time
held = bytearray(300 << 20)
del held
print("let go", flush=True)
time.sleep(60)"""


def test_a_peak_is_seen_after_it_is_over():
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "let go\n"
        assert psutil.Process(child.pid).memory_info().rss < 200 << 20
        seen = peaks(child.pid)
        assert seen["driver"] > 300 << 20
        assert peaks(psutil.Process().pid)["other"] > 300 << 20
        child.kill()
    assert peaks(child.pid) == {}
    assert more({"a": 1, "b": 3}, {"b": 2, "c": 4}) == {"a": 1, "b": 3, "c": 4}


def test_a_probe_is_of_a_dry_run(tmp_path):
    done = munro("climb", str(write_recipe(tmp_path)), "--probe")
    assert done.returncode == 2
    assert "--probe goes with --dry-run" in done.stderr


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_probe_says_what_a_step_takes_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config = load(str(write_recipe(tmp_path)), [])
    said = plan(config, probe_s=2)
    line = next(line for line in said.splitlines() if line.startswith("probe "))
    assert " s each, " in line
    assert "; 4 would take " in line
    for kind in ("driver", "learner", "server", "worker"):
        assert f"{kind} 0." in said.splitlines()[said.splitlines().index(line) + 1] + " "
    assert not list(tmp_path.glob("munro-probe-*"))
    assert not Path(config.folder).exists()
    assert not [p for p in psutil.Process().children(recursive=True) if "ray" in p.name()]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_probe_that_fails_says_why(tmp_path):
    config = load(str(write_recipe(tmp_path)), [("rollout.pass_rate", "[0.99, 1.0]")])
    config = config.model_copy(update={"batch": config.batch.model_copy(update={"patience": 1})})
    with pytest.raises(BadConfig, match="the probe came to no figures: no task passed the gates"):
        probe(config, Path(config.model.path), 2)


def test_whole_turns_stand_for_the_steps_of_a_climb():
    steps = [{"step": number} for number in range(1, 12)]
    assert [row["step"] for row in usual(steps, 4)] == [5, 6, 7, 8]
    assert [row["step"] for row in usual(steps[:7], 4)] == [1, 2, 3, 4]
    assert [row["step"] for row in usual(steps[:3], 1)] == [2, 3]
