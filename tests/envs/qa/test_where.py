"""`qa` on some of the rows: those whose columns say so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from munro.envs.qa import QuestionsAndAnswers

ROWS = [
    {"question": "1+1?", "answer": "2", "type": "open", "bracket": "easy"},
    {"question": "1+2?", "answer": "3", "type": "open", "bracket": "hard"},
    {"question": "1+3?", "answer": "4", "type": "choice", "bracket": "hard"},
]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


@pytest.mark.parametrize(
    ("where", "answers"),
    [
        (None, ["2", "3", "4"]),
        ({"type": ["open"]}, ["2", "3"]),
        ({"type": "open", "bracket": ["hard"]}, ["3"]),
        ({"bracket": ["hard", "easy"]}, ["2", "3", "4"]),
    ],
)
def test_only_wanted_rows_are_tasks(
    file: str, where: dict[str, str | list[str]] | None, answers: list[str]
) -> None:
    tasks = QuestionsAndAnswers(file, test_share=0, where=where).tasks("train")
    assert [task.payload["answer"] for task in tasks] == answers


def test_what_is_not_there_is_told(file: str) -> None:
    with pytest.raises(ValueError, match=r"where: no row has type = \['opne'\]"):
        QuestionsAndAnswers(file, test_share=0, where={"type": ["opne"]})
    with pytest.raises(ValueError, match=r"has no column 'typ'\. Did you mean 'type'"):
        QuestionsAndAnswers(file, test_share=0, where={"typ": ["open"]})
