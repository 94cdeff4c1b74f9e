"""`munro world`: tasks from the command line, and mistakes told in one line."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from munro.machine.cli.main import munro
from munro.machine.sentences import in_one_line, is_sentence


def run(*words: str):
    return CliRunner().invoke(munro, ["world", *words])


def told(*words: str) -> str:
    """The line that a command ends with."""
    done = run(*words)
    if done.exception is None or isinstance(done.exception, SystemExit):
        return done.output
    assert is_sentence(done.exception), repr(done.exception)
    return in_one_line(done.exception)


def test_tasks_are_built_and_proven_again(tmp_path):
    out = str(tmp_path / "tasks")
    built = run("build", "--out", out, "--domain", "bank", "--tasks", "20", "--tools", "8")
    assert built.exit_code == 0, built.output
    assert "20 tasks with up to 15 tools, all proven" in built.output
    proven = run("check", out)
    assert (proven.exit_code, proven.output) == (0, "every task is proven\n")
    assert "is not empty" in told("build", "--out", out, "--tasks", "20")


def test_domains_and_kinds_are_listed():
    listed = run("list").output
    assert "library" in listed
    assert "missing_information" in listed


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--domain", "shpo"], "There is no domain 'shpo'"),
        (["--domain", "none.toml"], "There is no domain 'none.toml'"),
        (["--domain", "shop", "--domain", "shop"], "name one twice"),
        (["--kinds", "wirte=1"], "There is no kind of task 'wirte'"),
        (["--kinds", "write=much"], "is not NAME=SHARE"),
        (["--kinds", "write=0"], "must be above 0"),
        (["--kinds", "policy=1", "--domain", "stall"], "kind 'policy'"),
        (["--tasks", "0"], "--tasks must be at least 1"),
        (["--size", "nan"], "--size"),
        (["--size", "99", "--domain", "shop"], "less size"),
    ],
)
def test_what_a_person_gets_wrong_is_one_line(words, line, tmp_path):
    assert line in told("build", "--out", str(tmp_path / "tasks"), *words)
    assert not (tmp_path / "tasks" / "tasks.jsonl").exists()


def test_a_domain_of_ones_own(tmp_path):
    file = tmp_path / "till.toml"
    file.write_text('about = "A till."\n')
    assert "till.toml: tables: Field required" in told(
        "build", "--out", str(tmp_path / "tasks"), "--domain", str(file)
    )
