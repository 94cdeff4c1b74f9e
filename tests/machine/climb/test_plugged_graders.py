"""A climb over graders that are no part of Munro: one from a file, one from a package."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.machine.climbing import command, rows, write_recipe
from tests.rewards.plugged import installed

pytestmark = pytest.mark.ray

GRADER = """
import os
from munro.rewards import Grade
from munro.rewards.kinds import Grader


class Even(Grader):
    def grade(self, item):
        return Grade.of(len(item["response"]) % 2 == 0, f"process {os.getpid()}")
"""
ADDED = """
[env.graders.by_path]
kind = "./even.py:Even"
[env.graders.by_name]
kind = "even"
[env.reward]
kind = "sum"
parts = ["by_path", "by_name"]
weights = [0.5, 0.5]
[rewards.service.pools."./even.py:Even"]
workers = 1
"""


def test_a_recipe_takes_a_grader_by_a_relative_path_and_by_an_entry_point(tmp_path):
    recipe = write_recipe(tmp_path, name="plugged")
    (tmp_path / "even.py").write_text(GRADER)
    (tmp_path / "evens.py").write_text(GRADER)
    installed(tmp_path, "munro.graders", even="evens:Even")
    text = recipe.read_text()
    text = text.replace(f'env = "{tmp_path}/mine.py:Mine"\n', "")
    recipe.write_text(text.replace("[model]", f'[env]\npath = "./mine.py:Mine"\n{ADDED}\n[model]'))
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', 'src')}"
    done = subprocess.run(
        command("climb", recipe.name, "--num_steps", "2"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=1000,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [row for row in rows(tmp_path / "runs" / "plugged") if "reward/by_path" in row]
    assert len(steps) == 2
    for row in steps:
        assert row["reward/by_path"] == row["reward/by_name"]
