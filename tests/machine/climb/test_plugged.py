"""A climb with a loss, an advantage, a curriculum, graders and trackers of the user's own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.machine.climbing import command, rows, write_recipe
from tests.rewards.plugged import installed
from tests.rl.plugged import SOURCE, install

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]


GRADER = """
import os
from munro.rewards import Grade
from munro.rewards.kinds import Grader


class Even(Grader):
    def grade(self, item):
        return Grade.of(len(item["response"]) % 2 == 0, f"process {os.getpid()}")
"""
GRADERS = """
[env.graders.by_path]
kind = "./even.py:Even"
[env.graders.by_path.watch]
kind = "./even.py:Even"
share = 1.0
[env.graders.by_name]
kind = "even"
[env.reward]
kind = "sum"
parts = ["by_path", "by_name"]
weights = [0.5, 0.5]
[rewards.service.pools."./even.py:Even"]
workers = 1
"""
TRACKER = """
import json


class Lines:
    def __init__(self, run, *, config, first_step):
        self.file = open(run / "FILE", "a")
        self.file.write(json.dumps({"opened": run.name, "seed": config["seed"]}) + "\\n")

    def log(self, step, metrics):
        self.file.write(json.dumps({"step": step, **metrics}) + "\\n")

    def close(self):
        self.file.close()
"""


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose loss, advantage, curriculum, graders and trackers are no part of Munro.

    Each kind once by the path of a file, and once by a package's entry point.
    """
    folder = tmp_path_factory.mktemp("plugged")
    recipe = write_recipe(folder, "plugged")
    text = recipe.read_text().replace(f'env = "{folder}/mine.py:Mine"\n', "")
    env = f'[env]\npath = "./mine.py:Mine"\n{GRADERS}\n[model]'
    recipe.write_text(text.replace("[model]", env))
    site = install(folder / "site")
    (folder / "loss.py").write_text(SOURCE)
    (folder / "even.py").write_text(GRADER)
    (site / "evens.py").write_text(GRADER)
    (folder / "lines.py").write_text(TRACKER.replace("FILE", "by_path.jsonl"))
    (site / "someones_lines.py").write_text(TRACKER.replace("FILE", "by_name.jsonl"))
    installed(site, "munro.graders", even="evens:Even")
    installed(site, "munro.trackers", name="someone", lines="someones_lines:Lines")
    asked = ["--num_steps", "2", "--learner.loss", "./loss.py:my_loss"]
    asked += ["--learner.advantage", "triple", "--length.curriculum", "jump"]
    asked += ["--length.stages", "[4, 8]", "--tracking", '["./lines.py:Lines", "lines"]']
    path = os.pathsep.join([str(site), str(folder), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command("climb", recipe.name, *asked),
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs" / "plugged"


@pytest.mark.climb
def test_a_loss_by_path_and_an_advantage_and_a_curriculum_by_entry_point(plugged: Path):
    last = rows(plugged)[-1]
    assert last["mine/tokens"] == 1.0
    assert {"policy/entropy", "clip/high", "learner/loss"} <= last.keys()
    assert rows(plugged)[1]["event"] == ["length cap 8"]


@pytest.mark.climb
def test_a_grader_by_a_relative_path_and_one_by_an_entry_point(plugged: Path):
    steps = [row for row in rows(plugged) if "reward/by_path" in row]
    assert len(steps) == 2
    for row in steps:
        assert row["reward/by_path"] == row["reward/by_name"]


@pytest.mark.climb
def test_a_second_judge_by_path_is_in_the_metrics_and_not_in_the_reward(plugged: Path):
    for row in rows(plugged)[1:]:
        assert row["watch/by_path/attempts"] == 8  # two groups of four
        assert row["watch/by_path/paid"] == row["watch/by_path/watched"]
        assert row["watch/by_path/difference"] == row["watch/by_path/failed"] == 0
        assert "reward/by_path/watch" not in row


@pytest.mark.climb
def test_a_tracker_by_path_and_one_by_entry_point(plugged: Path):
    expected = [row["step"] for row in rows(plugged)]
    assert expected[-1] == 2
    for name in ("by_path.jsonl", "by_name.jsonl"):
        opened, *told = map(json.loads, (plugged / name).read_text().splitlines())
        assert opened == {"opened": "plugged", "seed": 0}
        assert [line["step"] for line in told] == expected
        assert told[-1]["reward/total"] == rows(plugged)[-1]["reward/total"]


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
