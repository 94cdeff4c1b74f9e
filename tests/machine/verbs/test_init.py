"""`munro init`: what it writes loads, and what it prints can be typed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from munro.envs.check import check
from munro.machine.cli.main import munro
from munro.machine.errors import BadConfig
from munro.machine.loading import load


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> str:
    return CliRunner().invoke(munro, words, catch_exceptions=False).output


def test_it_writes_a_recipe_an_environment_and_a_readme_of_five_lines(here: Path) -> None:
    run("init", "first")
    assert sorted(path.name for path in Path("first").iterdir()) == [
        "README.md",
        "env.py",
        "recipe.toml",
    ]
    readme = Path("first/README.md").read_text()
    assert len(readme.splitlines()) == 5
    assert "runs/first" in readme
    config = load("first/recipe.toml")
    assert (config.name, config.env[0].path) == ("first", "./env.py:Sums")
    assert Path("first/env.py").read_text().count("\nclass ") == 1


def test_the_commands_that_it_prints_work(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run("init", "first").splitlines()[1:]
    words = [shlex.split(line) for line in lines]
    assert [each[:2] for each in words] == [
        ["cd", "first"],
        ["munro", "env"],
        ["munro", "climb"],
        ["munro", "report"],
    ]
    monkeypatch.chdir(words[0][1])
    assert "./env.py:Sums is sound" in run(*words[1][1:])
    plan = run(*words[2][1:], "--dry-run").splitlines()
    assert plan[0].split()[1].rstrip(",") == words[3][2] == "runs/first"


def test_its_environment_grades_a_worked_sum_and_holds_tasks_out(here: Path) -> None:
    run("init", "first")
    report = check("first/env.py:Sums")
    assert report.is_ok, report.problems
    assert (report.num_train, report.num_test) == (9362, 500)
    from munro.envs.loader import load as load_env

    env = load_env("first/env.py:Sums")
    train, test = ({task.id for task in env.tasks(split)} for split in ("train", "test"))
    assert train.isdisjoint(test)
    (task,) = (task for task in env.tasks("train") if task.id == "397+412")
    for reply, passes in (
        ("7+2=09 9+1+0=10 3+4+1=08 809", True),
        ("0809", True),
        ("810", False),
        ("", False),
        ("809 is right, 7 is not", False),
    ):
        assert env.grade(task, reply).solved is passes, reply


def test_a_folder_that_is_empty_will_do(here: Path) -> None:
    Path("empty").mkdir()
    run("init", "empty")
    assert Path("empty/recipe.toml").is_file()


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("full", r"^full is not empty \(mine\.txt\): name another folder"),
        ("full/mine.txt", "is a file"),
        ("two words", "in letters, digits"),
        ("--name", "NAME is missing"),
    ],
)
def test_nothing_is_written_over_and_a_bad_name_is_said(here: Path, where: str, why: str) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    with pytest.raises(BadConfig, match=why):
        run("init", "--", where)
    assert sorted(path.name for path in here.rglob("*")) == ["full", "mine.txt"]
