"""A judge sets up what tests need, turn by turn in a box, and the tasks of a build stand on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from munro.envs.swe.folder import LAYERS, read_folder, read_from
from munro.envs.swe_build.author import Setup
from munro.machine.cli.main import munro
from tests.envs.swe_build.histories import LENGTHS, LENGTHS_TESTS, Hand, fixed
from tests.rewards.judges import Reply, ScriptedJudge, material, says

NEEDS = b"import tomli_w\nfrom built.sign import SIGN\n\n\n" + LENGTHS
TIES = b'\n\ndef test_ties():\n    assert longest(["ab", "cd"]) == "cd"\n'


@pytest.fixture(autouse=True)
def _without_this_machines_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they hold the fix takes half a minute to see, and is tested elsewhere."""
    monkeypatch.setattr("munro.envs.swe_build.build.host_leaks", lambda fixes, shown: {})


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Needs a package that it names nowhere, and a module that its build would have made."""
    hand = Hand(tmp_path / "repo")
    hand.commit("Begin", {"lengths.py": NEEDS, "test_lengths.py": LENGTHS_TESTS})
    hand.branch("ties")
    hand.commit(
        "Of words that are equally long, longest() gives the last (#3)",
        {
            "lengths.py": fixed(NEEDS, b"len(word) > len(best)", b"len(word) >= len(best)"),
            "test_lengths.py": LENGTHS_TESTS + TIES,
        },
    )
    hand.merge("ties", "Merge pull request #4 from ada/ties\n\nLast of equals")
    hand.git("branch", "-D", "ties")
    return hand.folder


def build(repo: Path, tmp_path: Path, url: str, *more: str) -> Result:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'num_steps = 1\n[env]\npath = "arithmetic"\n[model]\npath = "none"\n'
        f'[judge.maker]\nmodel = "scripted"\nbase_url = "{url}"\nretries = 0\n'
    )
    words = ["swe", "build", str(repo), "--out", str(tmp_path / "out"), "--packages", "installed"]
    words += ["--author", "judge:maker", "--config", str(recipe), "--test-s", "5", *more]
    return CliRunner().invoke(munro, words)


WORK = [
    says(tool="bash", command="ls; cat lengths.py; echo x >> lengths.py; echo y > conftest.py"),
    says(tool="need", requirements=["tomli_w>=1", "git+https://x.org/y"]),
    says(tool="need", requirements=["tomli_w>=1"]),
    says(tool="run_suite"),
    says(tool="str_replace_editor", path="built/sign.py", text="SIGN = 1\n"),
    says(tool="run_suite"),
]


@pytest.fixture
def no_build(monkeypatch: pytest.MonkeyPatch) -> list[Setup]:
    """What the rest of a build would stand on, in place of the rest."""
    found: list[Setup] = []

    def build(*args: object) -> int:
        found.append(next(each for each in args if isinstance(each, Setup)))
        return 0

    monkeypatch.setattr("munro.machine.verbs.swe._build", build)
    return found


@pytest.mark.slow
def test_tasks_stand_on_what_an_author_found(repo: Path, tmp_path: Path) -> None:
    with ScriptedJudge(WORK) as judge:
        done = build(repo, tmp_path, judge.url)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "1 tasks in" in done.output
    (told,) = (tmp_path / "out").glob("*/task.toml")
    task = read_folder(told.parent)
    layers = task.image(tmp_path / "out" / LAYERS).layers
    assert read_from(layers, "built/sign.py") == b"SIGN = 1\n"
    assert read_from(layers, "lengths.py") == NEEDS
    assert read_from(layers, "conftest.py") is None
    with ScriptedJudge([Reply("no")]) as judge:
        again = build(repo, tmp_path, judge.url, "--resume")
        assert judge.requests == []
    assert again.exit_code == 0, again.output


def test_an_author_finds_what_tests_need(repo: Path, tmp_path: Path, no_build: list[Setup]) -> None:
    with ScriptedJudge(WORK) as judge:
        done = build(repo, tmp_path, judge.url)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "the author found 2 requirements and 1 files after 6 turns" in done.output
    needed = ("pytest", "tomli_w>=1")
    assert no_build == [Setup(requirements=needed, files={"built/sign.py": b"SIGN = 1\n"}, turns=6)]
    turns = [
        json.loads(line)
        for line in (tmp_path / "out/author/transcript.jsonl").read_text().splitlines()
    ]
    assert [turn["tool"] for turn in turns] == [
        "bash", "need", "need", "run_suite", "str_replace_editor", "run_suite"
    ]  # fmt: skip
    answers = [turn["answer"] for turn in turns]
    assert "from built.sign import SIGN" in answers[0]
    assert "is no requirement" in answers[1] or "is an address" in answers[1]
    assert answers[2] == "installed: pytest, tomli_w>=1"
    assert "No module named 'built'" in answers[3]
    assert answers[5].startswith("the suite runs\n2 of 2 tests passed")
    first, last = material(judge.requests[0], "BEFORE"), material(judge.requests[-1], "BEFORE")
    assert "No module named 'tomli_w'" in first
    assert "[turn 4] str_replace_editor" in last


def test_an_author_that_does_not_get_there_is_one_line(repo: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("munro.envs.swe_build.author.written_setup.__defaults__", (2,))
    with ScriptedJudge([says(tool="bash", command="true")]) as judge:
        done = build(repo, tmp_path, judge.url)
    told = str(done.exception)
    assert "judge:maker did not get the tests to run in 2 turns; what it tried is in" in told
    assert len((tmp_path / "out/author/transcript.jsonl").read_text().splitlines()) == 2


def test_an_author_that_says_nothing_to_the_point_is_one_line(repo: Path, tmp_path: Path) -> None:
    with ScriptedJudge([Reply("I would rather not")]) as judge:
        done = build(repo, tmp_path, judge.url)
    assert "judge:maker gave no answer" in str(done.exception)
    assert "\n" not in str(done.exception)


def test_tests_that_run_need_no_author(tmp_path: Path, no_build: list[Setup]) -> None:
    hand = Hand(tmp_path / "repo")
    hand.commit("Begin", {"lengths.py": LENGTHS, "test_lengths.py": LENGTHS_TESTS})
    code = fixed(LENGTHS, b"len(word) > len(best)", b"len(word) >= len(best)")
    tests = LENGTHS_TESTS + TIES
    hand.commit(
        "Of words equally long, give the last", {"lengths.py": code, "test_lengths.py": tests}
    )
    with ScriptedJudge([Reply("no")]) as judge:
        done = build(hand.folder, tmp_path, judge.url)
        assert judge.requests == []
    assert "the author found that the tests run as they are" in done.output
    assert no_build == [Setup()]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--author", "maker"), "--author maker: write judge:NAME"),
        (("--author", "judge:other"), "has no [judge.other]; there is maker"),
        (("--requirements", "x"), "--author finds out what --requirements says"),
        (("--author", "judge:maker", "--config", ""), "--author judge:maker asks [judge.maker]"),
    ],
)
def test_what_is_typed_wrong_is_one_line(
    repo: Path, tmp_path: Path, words: tuple[str, ...], why: str
) -> None:
    done = build(repo, tmp_path, "http://127.0.0.1:1/v1", *words)
    assert why in str(done.exception)
