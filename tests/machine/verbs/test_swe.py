"""`munro swe`: what a person gets wrong is told in one line, before anything is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from munro.envs.swe_build.build import explained_disk
from munro.envs.swe_build.errors import BadRepository
from munro.envs.swe_build.git import Repository
from munro.machine.cli.main import munro
from munro.machine.sentences import in_one_line, is_sentence
from munro.machine.verbs.swe import name_of
from tests.envs.swe_build.histories import LENGTHS, Hand, first_of_equals


def told(*words: str) -> str:
    """The line that a command ends with."""
    done = CliRunner().invoke(munro, ["swe", *words])
    if done.exception is None or isinstance(done.exception, SystemExit):
        return done.output
    assert is_sentence(done.exception), repr(done.exception)
    return in_one_line(done.exception)


@pytest.fixture
def repo(tmp_path: Path) -> str:
    return str(first_of_equals(tmp_path / "repo").folder)


@pytest.mark.parametrize("verb", ["build", "bugs", "functions"])
def test_a_folder_that_is_no_repository(tmp_path, verb):
    out = str(tmp_path / "out")
    assert "there is no such folder" in told(verb, str(tmp_path / "none"), "--out", out)
    assert "is no git repository" in told(verb, str(tmp_path), "--out", out)
    Hand(tmp_path / "new")
    assert "has no commit yet" in told(verb, str(tmp_path / "new"), "--out", out)


@pytest.mark.parametrize("verb", ["build", "bugs", "functions"])
def test_a_repository_without_tests(tmp_path, verb):
    hand = Hand(tmp_path / "repo")
    hand.commit("Begin", {"lengths.py": LENGTHS})
    hand.commit("More", {"more.py": b"x = 1\n"})
    line = told(verb, str(hand.folder), "--out", str(tmp_path / "out"))
    assert "has no tests that pytest would find" in line


def test_a_history_of_one_commit(tmp_path):
    hand = Hand(tmp_path / "repo")
    hand.commit("Begin", {"lengths.py": LENGTHS})
    line = told("build", str(hand.folder), "--out", str(tmp_path / "out"))
    assert "a history of one commit" in line


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--statement", "guess"], "write commit, issue or judge:NAME"),
        (["--statement", "issue"], "add --issues FOLDER"),
        (["--statement", "issue", "--issues", "/nowhere"], "no such folder of exported issues"),
        (["--statement", "judge:strict"], "--config"),
        (["--requirements", "/nowhere"], "--requirements /nowhere: "),
        (["--requirements", "/dev/null"], "there is none in it"),
        (["--jobs", "0"], "--jobs 0: at least one"),
        (["--least-strength", "2"], "a share from 0 to 1"),
        (["--test-s", "0"], "more than 0"),
        (["--since", "2040-01-01"], "no commit since 2040-01-01"),
    ],
)
def test_options_that_make_no_sense(repo, tmp_path, options, line):
    assert line in told("build", repo, "--out", str(tmp_path / "out"), *options)


def test_a_judge_that_the_recipe_has_not(repo, tmp_path):
    recipe = tmp_path / "climb.toml"
    recipe.write_text('num_steps = 1\n[env]\npath = "arithmetic"\n')
    words = ["--statement", "judge:strict", "--config", str(recipe)]
    assert "has no [judge.strict]" in told("build", repo, "--out", str(tmp_path / "o"), *words)


def test_a_build_that_is_there_already_is_gone_on_with_only_when_asked(repo, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "journal.jsonl").write_text(json.dumps({"settings": {"repository": "0"}}) + "\n")
    assert "add --resume" in told("build", repo, "--out", str(out))
    assert "was begun with" in told("build", repo, "--out", str(out), "--resume")


def test_a_full_disk_is_one_line(tmp_path):
    def fill() -> None:
        with explained_disk(tmp_path):
            Path("/dev/full").write_text("x" * 100_000)

    with pytest.raises(BadRepository, match="no space left while writing below"):
        fill()


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("repo_x", "repo-x"),
        ("mahmoud+boltons/repo", "boltons"),
        ("A.git", "a"),
        ("++", "repository"),
    ],
)
def test_ids_begin_with_the_repositorys_name(tmp_path, folder, name):
    hand = Hand(tmp_path / folder)
    hand.commit("Begin", {})
    assert name_of(Repository(hand.folder)) == name
