"""A tracker of the user's own: one file outside of the repository, by path and by entry point."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from munro.machine.loading import load
from munro.machine.run.tracking import TRACKERS, Trackers, TrackingUnavailable, check
from tests.machine.climbing import command, munro

MINE = '''
"""Lines of JSON, one a step."""
import json


class Lines:
    def __init__(self, run, *, config, first_step):
        self.file = open(run / "mine.jsonl", "a")
        self.file.write(json.dumps({"opened": run.name, "seed": config["seed"]}) + "\\n")

    def log(self, step, metrics):
        self.file.write(json.dumps({"step": step, **metrics}) + "\\n")

    def close(self):
        self.file.close()
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return file


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder of installed packages, in which one has a tracker named "lines"."""
    site = tmp_path / "site"
    info = site / "someone-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someone\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[munro.trackers]\nlines = someones_lines:Lines\n")
    (site / "someones_lines.py").write_text(MINE.replace("mine.jsonl", "lines.jsonl"))
    return site


def path_with(site: Path) -> str:
    return os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(site)]))


def test_a_file_by_path_gets_the_numbers_and_nothing_else(mine: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    trackers = Trackers([str(mine)], run, config={"seed": 7}, warn=print)
    trackers.open(1)
    trackers.log(3, {"step": 3, "reward/total": 0.5, "event": ["x"], "policy/k": None})
    trackers.close()
    lines = [json.loads(line) for line in (run / "mine.jsonl").read_text().splitlines()]
    assert lines == [{"opened": "run", "seed": 7}, {"step": 3, "reward/total": 0.5}]


def test_an_installed_one_has_a_name(installed: Path) -> None:
    program = "from munro.machine.run.tracking import TRACKERS; print(TRACKERS.names())"
    done = subprocess.run(
        [*command()[:2], program],
        env=os.environ | {"PYTHONPATH": path_with(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "['lines', 'mlflow', 'tensorboard', 'trackio', 'wandb']\n"
    assert TRACKERS.names() == ["mlflow", "tensorboard", "trackio", "wandb"]


def test_a_name_that_is_none_is_answered_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(TrackingUnavailable, match=r"Did you mean 'tensorboard'\?"):
        check(["tensorbord"])
    with pytest.raises(TrackingUnavailable, match="There is no file"):
        check(["./nowhere.py:Mine"])
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('num_steps = 3\nenv = "arithmetic"\ntracking = ["wanbd"]\n')
    assert load(str(recipe)).tracking == ("wanbd",)
    done = munro("climb", str(recipe), "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    said = "munro: tracking: There is no tracker 'wanbd'. Did you mean 'wandb' or 'swanlab'?\n"
    assert done.stderr == said


FAILING = '''
class Failing:
    """Fails where its file says so, and writes down when it was asked."""

    def __init__(self, run, **_):
        self.run = run
        self.asked("open")

    def log(self, step, metrics):
        self.asked(f"log {step}")

    def close(self):
        self.asked("close")

    def asked(self, what):
        with open(self.run / "asked", "a") as file:
            file.write(what + "\\n")
        if what.split()[0] in (self.run / "fails").read_text():
            1 / 0
'''


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    file = tmp_path / "failing.py"
    file.write_text(FAILING)
    (tmp_path / "fails").write_text("")
    return file


def test_one_that_will_not_open_is_one_sentence_that_names_it(
    failing: Path, tmp_path: Path
) -> None:
    (tmp_path / "fails").write_text("open")
    with pytest.raises(TrackingUnavailable) as caught:
        Trackers([str(failing)], tmp_path, config={}, warn=print).open(1)
    told = f"the tracker {failing} would not open: ZeroDivisionError: division by zero (failing.py:"
    assert told in str(caught.value)


def test_one_that_fails_in_the_middle_is_told_once_and_asked_less_and_less(
    failing: Path, mine: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    trackers = Trackers([str(failing), str(mine)], tmp_path, config={"seed": 7}, warn=told.append)
    trackers.open(1)
    (tmp_path / "fails").write_text("log close")
    for step in range(1, 21):
        trackers.log(step, {"reward/total": 0.5})
    assert (tmp_path / "asked").read_text().split("\n")[1:-1] == [
        "log 1", "log 2", "log 4", "log 8", "log 16"
    ]  # fmt: skip
    # it has come back: it is given all again
    (tmp_path / "fails").write_text("close")
    for step in range(21, 40):
        trackers.log(step, {"reward/total": 0.5})
    asked = (tmp_path / "asked").read_text().split()
    assert [int(one) for one in asked[-2:] if one != "log"] == [39]
    trackers.close()
    assert len(told) == 1
    assert "failing.py failed at step 1: ZeroDivisionError" in told[0]
    assert "The run goes on, and metrics.jsonl has everything." in told[0]
    # the other one has missed nothing
    assert len((tmp_path / "mine.jsonl").read_text().splitlines()) == 1 + 39


def test_one_that_will_not_open_again_does_not_stop_a_run_that_goes_on(
    failing: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    trackers = Trackers([str(failing)], tmp_path, config={}, warn=told.append)
    trackers.open(1)
    trackers.log(1, {})
    (tmp_path / "fails").write_text("open")
    trackers.open(1)
    trackers.log(1, {})
    trackers.close()
    assert (tmp_path / "asked").read_text().split("\n")[:-1] == ["open", "log 1", "close", "open"]
    assert [line.startswith("warning: the tracker ") for line in told] == [True]
    assert told[0].endswith("It goes without.")


def test_a_trackers_own_sentence_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "class Full(Exception):\n    is_sentence = True\n\n"
        "class Own:\n    def __init__(self, run, **_):\n        raise Full('the bucket is full')\n"
        "    log = close = print\n"
    )
    with pytest.raises(Exception, match=r"^the bucket is full$"):
        Trackers([f"{file}:Own"], tmp_path, config={}, warn=print).open(1)


def test_a_package_that_it_needs_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "needy.py"
    file.write_text("class Needy:\n    needs = 'no_such_package'\n    log = close = print\n")
    with pytest.raises(TrackingUnavailable, match="pip install no_such_package,"):
        check([str(file)])
