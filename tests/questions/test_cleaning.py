"""`munro questions clean` on somebody's rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from munro.machine.cli.main import munro
from munro.machine.sentences import is_sentence
from munro.questions.errors import QuestionsError

LONG = "A lamp of 60 W burns for {} hours in the cellar of an old house. How much energy is that?"
ROWS: list[dict[str, Any]] = [
    {"id": 7, "question": LONG.format(5), "answer": "300 Wh", "more": [1, {"a": None}]},
    {"id": 8, "question": LONG.format(5).upper(), "answer": "300 Wh"},
    {"id": 9, "question": LONG.format(8), "answer": "480 Wh"},
    {"id": 10, "question": "What is 2 + 2?", "answer": 4},
    {"id": 11, "question": "Why is the sea salty, and rivers are not?"},
]


def run(tmp_path: Path, *words: str) -> Any:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "eval.jsonl").write_text('{"problem": "what is  2 + 2?"}\n')
    typed = ["questions", "clean", str(tmp_path / "rows.jsonl"), *words]
    return CliRunner().invoke(munro, typed)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]]


def test_rows_stay_as_they_are_or_go_with_their_reason(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = run(tmp_path, "--out", str(out), "--against", str(tmp_path / "*val.jsonl"))
    assert done.exit_code == 0, done.output
    assert "5 questions, 3 kept" in done.output
    template = {"template": "rows.jsonl:1"}
    assert lines(out) == [ROWS[0], ROWS[2] | template, ROWS[4]]
    assert lines(tmp_path / "out.dropped.jsonl") == [
        {"reason": "exact duplicate", "evidence": "rows.jsonl:1", "row": ROWS[1]},
        {"reason": "in an evaluation set", "evidence": "eval.jsonl:1", "row": ROWS[3]},
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--against", "{}/rows.jsonl"), "--against names .*rows.jsonl itself"),
        (("--against", "{}/none.jsonl"), "there is no file"),
        (
            ("--question", "prompt"),
            r"rows.jsonl:1 has no question in the column 'prompt': it has id",
        ),
        (("--out", "{}/rows.jsonl"), "--out names .* itself"),
    ],
)
def test_what_cannot_be_is_one_sentence(words: tuple[str, ...], why: str, tmp_path: Path) -> None:
    named = [word.format(tmp_path) for word in words]
    done = run(tmp_path, "--out", str(tmp_path / "o.jsonl"), *named)
    assert isinstance(done.exception, QuestionsError)
    assert is_sentence(done.exception)
    with pytest.raises(QuestionsError, match=why):
        raise done.exception


def test_half_of_a_surrogate_pair_in_a_row_is_kept_as_it_was_written(tmp_path: Path) -> None:
    row = '{"question": "What is a \\ud800 sign worth in it?", "answer": "3"}\n'
    (tmp_path / "half.jsonl").write_text(row)
    typed = ["questions", "clean", str(tmp_path / "half.jsonl"), "--out", str(tmp_path / "o.jsonl")]
    assert CliRunner().invoke(munro, typed, catch_exceptions=False).exit_code == 0
    assert (tmp_path / "o.jsonl").read_text() == row
