"""What an evaluation set has is kept out; what only looks like it is told apart or kept."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from munro.questions.clean.contamination import (
    EvaluationIndex,
    evaluation_texts,
    files_of,
    without_evaluation,
)
from munro.questions.config import ContaminationConfig
from munro.questions.errors import QuestionsError
from tests.questions.questions import long_questions, question_of

PLAIN = ContaminationConfig()
FIELDS = PLAIN.fields


def index(texts: list[str]) -> EvaluationIndex:
    return EvaluationIndex(((f"eval:{n}", text) for n, text in enumerate(texts, 1)), PLAIN)


def found(texts: list[str], evaluation: list[str]) -> list[str]:
    return [reason for reason, _ in index(evaluation).found(texts)]


EVALUATION = [one.question for one in long_questions(200, seed=1)]


def test_copies_are_found_with_their_place() -> None:
    copies = [f"  {text.upper()}\n" for text in EVALUATION]
    places = index(EVALUATION).found(copies)
    assert places == [("exact", f"eval:{n}") for n in range(1, 201)]


def test_a_fifth_of_the_words_changed_is_found() -> None:
    rng = random.Random(2)
    changed = []
    for text in EVALUATION:
        words = text.split()
        for at in rng.sample(range(len(words)), len(words) // 5):
            words[at] = rng.choice(("bicycle", "quantity", "whatever", "seventeen", "under"))
        changed.append(" ".join(words))
    assert found(changed, EVALUATION).count("near") >= 190


def test_the_same_template_with_other_numbers_is_told_apart() -> None:
    text = "A train leaves at noon and covers {} km in {} hours. What is its mean speed?"
    evaluation = [text.format(n * 10, n) for n in range(1, 2000)]
    reasons = found([text.format(77777, 333), text.format(120, 12)], evaluation)
    assert reasons == ["template", "exact"]


def test_short_questions_are_compared_whole_only() -> None:
    evaluation = [f"What is {a} + {a + 1}?" for a in range(100, 200)]
    assert found(["what is 150 + 151?", "What is 150 + 152?"], evaluation) == ["exact", ""]


def test_other_questions_stay() -> None:
    others = [one.question for one in long_questions(400, seed=9)]
    assert sum(map(bool, found(others, EVALUATION))) == 0


def test_rows_of_every_kind_are_read(tmp_path: Path) -> None:
    rows = [
        {"problem": "one"},
        {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "two"}]},
        {"question": "", "text": "three"},
    ]
    file = tmp_path / "eval.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [text for _, text in evaluation_texts(file, FIELDS)] == ["one", "two", "three"]
    (tmp_path / "eval.txt").write_text("four\n\nfive\n")
    texts = list(evaluation_texts(tmp_path / "eval.txt", FIELDS))
    assert texts == [("eval.txt:1", "four\n"), ("eval.txt:3", "five\n")]


def test_a_set_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    def read(content: str, name: str = "e.jsonl") -> None:
        (tmp_path / name).write_text(content)
        list(evaluation_texts(tmp_path / name, FIELDS))

    with pytest.raises(QuestionsError, match=r"e.jsonl:1 has none of the fields .*it has id, q"):
        read('{"id": 1, "q": "x"}')
    with pytest.raises(QuestionsError, match="is not JSON lines"):
        read("{")
    with pytest.raises(QuestionsError, match="is not a JSON object"):
        read("[1]")
    with pytest.raises(QuestionsError, match="is not a whole Parquet file"):
        read("x", "e.parquet")
    with pytest.raises(QuestionsError, match="there is no file"):
        files_of(ContaminationConfig(files=(str(tmp_path / "none*"),)), tmp_path / "out")


def test_what_the_build_writes_is_no_evaluation_set(tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text("{}")
    names_itself = ContaminationConfig(files=(str(tmp_path / "questions.jsonl"),))
    with pytest.raises(QuestionsError, match="which this build itself writes"):
        files_of(names_itself, tmp_path)


def test_without_evaluation_sets_everything_stays() -> None:
    questions = [question_of("a", "What is the use of a test without a set?")]
    assert without_evaluation(iter(questions), [], PLAIN).kept == questions
