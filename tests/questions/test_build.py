"""A build from files to questions, as a person runs it: begun again, killed, misused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from munro.envs.qa import QuestionsAndAnswers
from munro.machine.cli.main import munro
from munro.machine.sentences import is_sentence
from munro.questions.build import STAGES, build
from munro.questions.config import QuestionsConfig
from munro.questions.errors import QuestionsError
from munro.questions.stages import Build
from tests.questions import pdfs

TEXT = """Chapter 1
Exercises
1. What is 20 + 3?
2. What is 4 * 14?
3. Prove that 7 is a prime number.
4. What is 99 - 9?
Answers
1. 23
2. 56
3. proof
4. 90
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "a.txt").write_text(TEXT)
    (folder / "b.md").write_text(TEXT.replace("20 + 3", "120 + 5").replace("1. 23", "1. 125"))
    (folder / "c.txt").write_text("Exercises\n1. What is <b>1 + 1</b>?\nAnswer: 2\n")
    return folder


def config(out: Path, sources: Path, **more: object) -> QuestionsConfig:
    whole = {"out": str(out), "sources": [{"name": "s", "paths": [str(sources)]}], "workers": 1}
    return QuestionsConfig.model_validate(whole | more)


def bytes_of(out: Path) -> dict[str, bytes]:
    """Every file that a build leaves, but for its config with the folder's own name."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in files
        if path.name != "manifest.json"
    }


def test_a_build_leaves_questions_that_qa_reads_and_a_page(sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (sources / "scan.pdf").write_bytes(pdfs.assembled([b"BT ET"]).replace(b"%PDF", b"%XYZ", 1))
    levels = build(config(out, sources))
    assert [level.stage for level in levels] == list(STAGES)
    rows = [json.loads(line) for line in (out / "questions.jsonl").read_text().split("\n")[:-1]]
    assert [(row["question"], row["answer"]) for row in rows] == [
        ("What is 20 + 3?", "23"),
        ("What is 4 * 14?", "56"),
        ("What is 99 - 9?", "90"),
        ("What is 120 + 5?", "125"),
        ("What is <b>1 + 1</b>?", "2"),
    ]
    dropped = [json.loads(line) for line in (out / "dropped.jsonl").read_text().split("\n")[:-1]]
    assert {row["reason"] for row in dropped} == {
        *("is no pdf", "no answer in its place", "exact duplicate"),
    }
    tasks = QuestionsAndAnswers(str(out / "questions.jsonl"), id="id", test_share=0).tasks("train")
    assert [task.payload["answer"] for task in tasks] == [row["answer"] for row in rows]
    done = CliRunner().invoke(munro, ["questions", "look", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    page = (out / "look.html").read_text()
    assert "<b>1 + 1</b>" not in page
    assert "&lt;b&gt;1 + 1&lt;/b&gt;" in page
    assert '<mark class="q">What is 20 + 3?</mark>' in page
    assert '<mark class="a">23</mark>' in page
    assert "begins &#x27;%XYZ" in page


def test_what_was_done_is_not_done_again(sources: Path, tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "out"
    build(config(out, sources), until="mark", on_progress=said.append)
    assert not (out / "questions.jsonl").exists()
    build(config(out, sources), on_progress=said.append)
    begun = [line.split(":")[0] for line in said if line.endswith("begins")]
    assert begun == list(STAGES)
    before = bytes_of(out)
    said.clear()
    build(config(out, sources), on_progress=said.append)
    assert (said, bytes_of(out)) == ([], before)
    build(config(out, sources, curate={"types": ["open", "proof"]}), on_progress=said.append)
    begun = [line.split(":")[0] for line in said if line.endswith("begins")]
    assert begun == ["curate", "convert", "duplicates", "contamination", "paraphrase", "topics"]


@pytest.mark.slow
def test_killed_anywhere_and_begun_again_it_leaves_the_same_bytes(
    sources: Path, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("killed.py")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(sources)],
        capture_output=True, text=True, cwd=root, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert int((tmp_path / "deaths").read_text()) >= 10
    whole = bytes_of(tmp_path / "whole")
    assert len(whole) >= 2 * len(STAGES) + 3
    assert bytes_of(tmp_path / "killed") == whole


def test_mistakes_are_one_sentence(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(QuestionsError, match="there is no stage 'curated': there are parse"):
        build(config(tmp_path / "out", sources), until="curated")
    with pytest.raises(QuestionsError, match="was not made by a build of questions"):
        build(config(sources, sources))
    with (
        Build(str(tmp_path / "out")),
        pytest.raises(QuestionsError, match="another process is building into"),
    ):
        build(config(tmp_path / "out", sources))
    with pytest.raises(QuestionsError) as failure:
        build(config(tmp_path / "out", sources, contamination={"files": ["none.jsonl"]}))
    assert is_sentence(failure.value)
    done = CliRunner().invoke(munro, ["questions", "look", str(sources)])
    assert isinstance(done.exception, QuestionsError)
    with pytest.raises(ValueError, match="the name 's' is taken"):
        QuestionsConfig.model_validate(
            {"out": "x", "sources": [{"name": "s", "paths": ["a"]}, {"name": "s", "paths": ["b"]}]}
        )
