"""A machine that begins with documents: its questions are built, and a climb reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from munro.envs.problem_set import ProblemSet
from munro.machine.loading import BadConfig, check
from munro.machine.pipeline.machine import _Machine, plan
from munro.machine.pipeline.phase import run_phase
from munro.machine.pipeline.plan import ORDERS, Phase, Standing, load_machine
from munro.machine.pipeline.ready import lacking
from munro.questions import build as building
from munro.questions.errors import QuestionsError

BOOK = """Exercises
1. What is 20 + 3?
2. What is 4 * 14?
Answers
1. 23
2. 56
"""
FILE = """
name = "mine"
folder = "{folder}/machines"

[phases.books]
kind = "questions"
file = "questions.toml"
set.pair.evidence = "waived"

[phases.stem]
kind = "climb"
set.num_steps = 1
set.env.path = "qa"
set.env.args = {{ path = "{{books}}/questions.jsonl", test_share = 0 }}

[phases.base]
kind = "base"
tasks_of = ["stem"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "book.txt").write_text(BOOK)
    (tmp_path / "questions.toml").write_text(
        f'out = "elsewhere"\nsources = [{{ name = "s", paths = ["{tmp_path}/book.txt"] }}]\n'
    )
    path = tmp_path / "mine.toml"
    path.write_text(FILE.format(folder=tmp_path))
    return path


def ordered(file: Path) -> dict[str, Phase]:
    """The phases, the first as its process finds it."""
    config, phases = load_machine(str(file))
    by_name = {phase.name: phase for phase in phases}
    books = by_name["books"]
    books.folder.mkdir(parents=True, exist_ok=True)
    orders = _Machine(config, by_name)._orders(books)
    (books.folder / ORDERS).write_text(json.dumps(orders))
    return by_name


def test_questions_are_built_before_what_reads_them(file: Path, tmp_path: Path) -> None:
    _, phases = load_machine(str(file))
    assert phases[0].name == "books"
    by_name = {phase.name: phase for phase in phases}
    for name in ("stem", "base"):
        assert by_name[name].needs == ("books",)
    (env,) = by_name["stem"].orders["recipe"]["env"]
    built = tmp_path / "machines" / "mine" / "books" / "questions"
    assert env["args"]["path"] == str(built / "questions.jsonl")
    told = plan(str(file))
    assert f"books  questions -> {built}/questions.jsonl: would run" in told
    assert "lacks" not in told


def test_a_phase_that_was_stopped_goes_on_and_a_climb_reads_what_it_made(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = ordered(file)
    books, stem = phases["books"], phases["stem"]
    with monkeypatch.context() as patched:

        def stopped(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(building.curate, "curated", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_phase(books.folder)
    assert books.standing is Standing.BEGUN
    parsed = books.folder / "questions" / "stages" / "parse.parquet"
    before = parsed.stat().st_mtime_ns
    run_phase(books.folder)
    assert parsed.stat().st_mtime_ns == before
    assert books.standing is Standing.DONE
    manifest = books.manifest
    assert manifest is not None
    assert manifest["questions"] == {"questions": 2, "left out": 0}
    assert not Path("elsewhere").exists()
    config = check(dict(stem.orders["recipe"]) | {"folder": str(tmp_path)}, source="stem")
    assert {ProblemSet(config.env, 0).task(at).payload["answer"] for at in range(2)} == {"23", "56"}
    assert lacking(stem) == []


def test_a_changed_document_is_another_input(file: Path, tmp_path: Path) -> None:
    books = ordered(file)["books"]
    run_phase(books.folder)
    book = tmp_path / "book.txt"
    book.write_text(book.read_text() + "\nMore.\n")
    _, phases = load_machine(str(file))
    assert phases[0].standing is Standing.CHANGED
    assert any("documents" in line for line in phases[0].changes())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("set.num", 'model = "books"\nset.num', "phases.stem takes 'books', which makes no model"),
        ("pair.evidence", "pear.evidence", r"phases\.books: .*pear"),
    ],
)
def test_a_mistake_is_one_sentence(file: Path, old: str, new: str, message: str) -> None:
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(BadConfig, match=message) as told:
        load_machine(str(file))
    assert "\n" not in str(told.value)


def test_what_is_missing_is_told_before_anything_runs(file: Path, tmp_path: Path) -> None:
    (tmp_path / "book.txt").unlink()
    assert "books lacks source s: there is no file" in plan(str(file))
    phases = ordered(file)
    with pytest.raises(QuestionsError, match="there is no file"):
        run_phase(phases["books"].folder)
