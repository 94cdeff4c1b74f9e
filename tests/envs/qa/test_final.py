"""`qa` for a base model, which marks no answer: the last number that it writes counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from munro.envs.qa import QuestionsAndAnswers

WORKED = "7+5=12 4+8+1=13 3+2+1=06 632"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "What is 347 + 285?", "answer": "632"}) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("final", "reply", "reward"),
    [
        ("last_number", WORKED, 1.0),
        ("last_number", f"{WORKED} or 633", 0.0),
        ("last_number", "I do not know", 0.0),
        ("last_number", "<think>632</think> none", 0.0),
        ("answer", WORKED, 0.0),
        ("answer", f"{WORKED}, so the answer is 632.", 1.0),
    ],
)
def test_what_counts_as_the_answer(file: str, final: str, reply: str, reward: float) -> None:
    environment = QuestionsAndAnswers(file, test_share=0, prompt="{question}", final=final)
    (task,) = environment.tasks("train")
    assert environment.grade(task, reply).reward == reward


def test_the_reference_itself_passes(file: str) -> None:
    environment = QuestionsAndAnswers(file, test_share=0, final="last_number")
    (task,) = environment.tasks("train")
    assert environment.grade(task, environment.gold_reply(task)).passed


def test_another_kind_of_final_answer_is_refused(file: str) -> None:
    with pytest.raises(ValueError, match="final = 'box': one of answer, last_number"):
        QuestionsAndAnswers(file, final="box")
