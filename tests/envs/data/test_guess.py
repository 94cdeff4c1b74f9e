"""Rows as people have them are read without being told which column is which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from munro.envs import load
from munro.envs.check import check
from munro.envs.loader import BadEnvironment

ASKED = "What is 3 + 4?"
ANSWERED = [
    {"role": "user", "content": ASKED},
    {"role": "assistant", "content": "3 and 4 more.\n#### 7"},
]
GSM8K = {"question": ASKED, "answer": "3 + 4 = <<3+4=7>>7\n#### 7"}
VERL = {
    "data_source": "openai/gsm8k",
    "prompt": [{"role": "user", "content": ASKED}],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "7"},
    "extra_info": {"split": "train", "index": 0, "answer": GSM8K["answer"], "question": "?"},
}
ROWS = {
    "gsm8k": GSM8K,
    "verl": VERL,
    "prompt and answer": {"prompt": ASKED, "answer": "7"},
    "prompt and ground_truth": {"prompt": ASKED, "ground_truth": 7},
    "prompt of messages": {"prompt": [{"role": "user", "content": ASKED}], "ground_truth": "7"},
    "MATH": {"problem": ASKED, "level": "1", "solution": r"Count on: \boxed{7}"},
    "messages": {"messages": ANSWERED},
    "messages and an answer": {"messages": ANSWERED, "answer": "7"},
    "messages that ask": {"messages": ANSWERED[:1], "answer": "7"},
    "ORZ": {"conversations": [{"from": "human", "value": ASKED}], "ground_truth": {"value": "7"}},
    "a box at the end": {
        "conversations": [
            {"from": "human", "value": ASKED},
            {"from": "gpt", "value": r"It is \boxed{7}."},
        ]
    },
    "half of them empty": {"question": "", "prompt": ASKED, "answer": None, "ground_truth": "7"},
}


def written(folder: Path, rows: list[Any], ending: str = "jsonl") -> str:
    file = folder / f"rows.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(file)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", ROWS)
def test_question_and_answer_are_found(tmp_path: Path, name: str, ending: str) -> None:
    env = load("qa", path=written(tmp_path, [ROWS[name]], ending), test_share=0)
    (task,) = env.tasks("train")
    assert [message.role for message in task.messages] == ["user"]
    assert task.payload["question"] == ASKED
    assert task.payload["answer"] in ("7", r"Count on: \boxed{7}")


@pytest.mark.parametrize("name", ["gsm8k", "MATH", "messages"])
def test_what_is_found_can_be_graded(tmp_path: Path, name: str) -> None:
    report = check("qa", path=written(tmp_path, [ROWS[name]] * 3), test_share=0.0)
    assert report.is_ok, report.problems


def test_held_out_rows_are_read_alike(tmp_path: Path) -> None:
    file = written(tmp_path, [VERL], "parquet")
    env = load("qa", path=file, test_path=file)
    assert [task.payload["answer"] for task in env.tasks("test")] == ["7"]


def test_what_a_person_names_is_taken(tmp_path: Path) -> None:
    row = {"question": "no", "other": ASKED, "answer": "8", "right": "7 #### 8"}
    env = load("qa", path=written(tmp_path, [row]), question="other", answer="right", test_share=0)
    (task,) = env.tasks("train")
    assert task.payload == {"question": ASKED, "answer": "7 #### 8"}  # no line begins with it


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("row", "args", "sentence"),
    [
        ({"frage": "a", "antwort": "b"}, {},
         r"rows\.\w+:1 has no column 'question', nor one that is called question, prompt, .*"
         r"It has: frage, antwort\. Name it: question = \.\.\."),
        ({"prompt": "a", "antwort": "b"}, {},
         r"has no column 'answer', .*It has: prompt, antwort\. Name it: answer = \.\.\."),
        ({"prompt": "a", "answer": "b"}, {"answer": "answr"},
         r"has no column 'answr'\. Did you mean 'answer'\? It has: prompt, answer\."),
        ({"messages": [*ANSWERED[:1], {"role": "assistant", "content": "Seven."}]}, {},
         "the messages end in a message without an answer: write it after ####"),
    ],
)  # fmt: skip
def test_a_missing_column_is_one_line_with_those_that_there_are(
    tmp_path: Path, row: Any, args: dict[str, str], sentence: str, ending: str
) -> None:
    with pytest.raises(BadEnvironment, match=sentence) as caught:
        load("qa", path=written(tmp_path, [row], ending), **args)
    assert "\n" not in str(caught.value)


def test_a_later_row_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "answer": "1"}, {"prompt": "b"}]
    with pytest.raises(BadEnvironment, match=r"rows\.jsonl:2 has no column 'answer'.*prompt"):
        load("qa", path=written(tmp_path, rows))


def test_prompts_ask_what_people_call_a_question(tmp_path: Path) -> None:
    rows = [GSM8K, {"messages": ANSWERED, "ground_truth": "7"}, VERL]
    env = load("prompts", path=written(tmp_path, rows), test_share=0)
    asked, talked, theirs = env.tasks("train")
    assert [task.messages[-1].content for task in (asked, talked, theirs)] == [ASKED] * 3
    assert talked.payload["reference"] == ANSWERED[-1]["content"]
    assert asked.payload["answer"] == GSM8K["answer"]  # as it is: a reward function reads it
    assert theirs.payload["reward_model"]["ground_truth"] == "7"


@pytest.mark.parametrize("num", [1, 2, 3, 40])
def test_one_row_at_least_is_held_out_where_there_are_two(tmp_path: Path, num: int) -> None:
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(num)]
    env = load("qa", path=written(tmp_path, rows))
    train, test = ({task.id for task in env.tasks(split)} for split in ("train", "test"))
    assert len(train) + len(test) == num
    assert not train & test
    assert bool(test) == (num > 1)
    assert not load("qa", path=written(tmp_path, rows), test_share=0).tasks("test")
