"""A tracker of the user's own: one file outside of the repository, by path and by entry point."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from munro.machine.loading import load
from munro.machine.run.tracking import TRACKERS, TrackingUnavailable, check, open_trackers
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
    (tracker,) = open_trackers([str(mine)], run, config={"seed": 7})
    tracker.log(3, {"step": 3, "reward/total": 0.5, "event": ["x"], "policy/k": None})
    tracker.close()
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
    assert done.stdout == "['lines', 'tensorboard', 'wandb']\n"
    assert TRACKERS.names() == ["tensorboard", "wandb"]


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
    assert done.stderr == "munro: tracking: There is no tracker 'wanbd'. Did you mean 'wandb'?\n"


BROKEN = {
    "__init__": "would not open",
    "log": "failed at step 1",
    "close": "would not close",
}


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    file = tmp_path / "broken.py"
    methods = (
        f"    def {name}(self, *_, **__):\n        {'1 / 0' if name == request.param else 'pass'}\n"
        for name in BROKEN
    )
    file.write_text("class Broken:\n" + "".join(methods))
    return file, BROKEN[request.param]


def test_what_a_tracker_raises_is_one_sentence_that_names_it(
    broken: tuple[Path, str], tmp_path: Path
) -> None:
    file, what = broken
    with pytest.raises(TrackingUnavailable) as caught:  # noqa: PT012 - one of the three raises
        (tracker,) = open_trackers([str(file)], tmp_path, config={})
        tracker.log(1, {})
        tracker.close()
    assert f"the tracker {file} {what}: ZeroDivisionError: division by zero (broken.py:" in str(
        caught.value
    )


def test_a_trackers_own_sentence_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "class Full(Exception):\n    is_sentence = True\n\n"
        "class Own:\n    def __init__(self, run, **_):\n        raise Full('the bucket is full')\n"
        "    log = close = print\n"
    )
    with pytest.raises(Exception, match=r"^the bucket is full$"):
        open_trackers([f"{file}:Own"], tmp_path, config={})


def test_a_package_that_it_needs_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "needy.py"
    file.write_text("class Needy:\n    needs = 'no_such_package'\n    log = close = print\n")
    with pytest.raises(TrackingUnavailable, match="pip install no_such_package,"):
        check([str(file)])
