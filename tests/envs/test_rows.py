"""Tables of other people: columns that hold lists and objects, NaN, byte order marks, halves."""

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
from munro.machine.verbs.env_check import described
from munro.rewards.preference.comparisons import read_comparisons

VERL = {
    "data_source": "math_dapo",
    "prompt": [{"role": "user", "content": "What is 2 + 2?"}],
    "ability": "MATH",
    "reward_model": {"ground_truth": "4", "style": "rule-lighteval/MATH_v2"},
    "extra_info": {"index": "9a9b6eb4"},
}
ORZ = {
    "conversations": [{"from": "human", "value": "What is 2 + 2?"}],
    "ground_truth": {"value": "4"},
}
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "What is 2 + 2?"},
]


def jsonl(folder: Path, *rows: Any, bom: bytes = b"") -> Path:
    file = folder / "rows.jsonl"
    file.write_bytes(bom + "".join(f"{json.dumps(row)}\n" for row in rows).encode())
    return file


def parquet(folder: Path, *rows: Any) -> Path:
    file = folder / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows)), file)
    return file


@pytest.mark.parametrize("write", [jsonl, parquet])
@pytest.mark.parametrize(
    ("row", "args"),
    [
        (VERL, {"question": "prompt", "answer": "reward_model.ground_truth"}),
        (VERL, {"question": "prompt", "answer": "reward_model.ground_truth",
                "id": "extra_info.index"}),
        (VERL, {"question": "prompt.0.content", "answer": "reward_model.ground_truth"}),
        (ORZ, {"question": "conversations", "answer": "ground_truth.value"}),
        ({"question": TALK, "answer": 4}, {}),
        ({"question": "What is 2 + 2?", "answer": "4"}, {}),
    ],
)  # fmt: skip
def test_conversations_and_dotted_columns_are_read(tmp_path, write, row, args) -> None:
    env = load("qa", path=str(write(tmp_path, row)), test_share=0, **args)
    (task,) = env.tasks("train")
    assert task.messages[-1].role == "user"
    assert task.messages[-1].content.startswith("What is 2 + 2?\n\nPut the final answer")
    assert task.payload == {"answer": "4", "question": "What is 2 + 2?"}
    assert task.id == ("9a9b6eb4" if "id" in args else "1")
    if row.get("question") is TALK:
        assert [message.content for message in task.messages[:-1]] == ["Be brief.", "Hi.", "Hello."]
    report = check("qa", path=str(write(tmp_path, row)), test_share=0.0, **args)
    assert report.is_ok, report.problems


REFUSED = [
    (VERL, {"question": "prompt", "answer": "reward_model"},
     r"rows.*:1: reward_model = \{.*no text. Name what is inside it, as in "
     r"reward_model.ground_truth"),
    (VERL, {"question": "reward_model", "answer": "ability"}, "as in reward_model.ground_truth"),
    (VERL, {"question": "prompt", "answer": "prompt"}, "it is no reference answer"),
    (VERL, {"question": "prompt", "answer": "reward_model.groundtruth"},
     "no column 'reward_model.groundtruth'. Did you mean 'reward_model.ground_truth'"),
    (VERL, {"question": "prompt", "answer": "ability", "id": "extra_info"}, "extra_info.index"),
    (ORZ, {"question": "conversations", "answer": "ground_truth"}, "as in ground_truth.value"),
    ({"question": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}],
      "answer": "4"}, {}, "must end in something to answer"),
    ({"question": [{"role": "usr", "content": "2 + 2?"}], "answer": "4"}, {}, "the role one of"),
    ({"question": ["2 + 2?"], "answer": "4"}, {}, "Give a column of texts"),
    ({"question": "2 + 2?", "answer": ["4", "four"]}, {}, r'answer = \["4", "four"\]'),
    ({"question": "Is it?", "answer": True}, {}, "answer = true, which is no text"),
    ({"question": "2 + 2?", "answer": float("nan")}, {}, r"rows.*:1.*(nan|NaN)"),
    ({"question": "2 + 2?", "answer": float("inf")}, {}, r"rows.*:1.*(inf|Infinity)"),
    ({"question": "", "answer": "4"}, {}, "the question is empty"),
]  # fmt: skip


@pytest.mark.parametrize("write", [jsonl, parquet])
@pytest.mark.parametrize(("row", "args", "sentence"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_text_is_refused_with_the_row_and_what_would_do(
    tmp_path, write, row, args, sentence
) -> None:
    file = str(write(tmp_path, row))
    with pytest.raises(BadEnvironment, match=sentence):
        load("qa", path=file, **args)
    report = check("qa", path=file, **args)
    assert not report.is_ok
    assert not any("is sound" in line for line in described(report))


@pytest.mark.parametrize("env", ["qa", "prompts", "code"])
def test_no_column_of_json_may_be_nan_or_half_a_pair(tmp_path, env) -> None:
    rows = {
        "qa": {"question": "2 + 2?", "answer": "4"},
        "prompts": {"prompt": "2 + 2?"},
        "code": {"prompt": "Print 4.", "tests": [{"stdout": "4"}]},
    }
    for bad, sentence in (
        (float("nan"), "rows.jsonl:2 is not JSON: NaN is no value"),
        ("a \ud800 b", r"rows.jsonl:2: note holds half a surrogate pair \(\\ud800\)"),
    ):
        file = jsonl(tmp_path, rows[env], rows[env] | {"note": bad})
        with pytest.raises(BadEnvironment, match=sentence):
            load(env, path=str(file))


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path) -> None:
    row = {"question": "What is 2 + 2?", "answer": "4"}
    for bom in (b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"):
        file = jsonl(tmp_path, row, bom=bom)
        env = load("qa", path=str(file), test_share=0)
        assert [task.payload["answer"] for task in env.tasks("train")] == ["4"]
    pair = {"context": "a", "chosen": "b", "rejected": "c"}
    assert len(read_comparisons(jsonl(tmp_path, pair, bom=b"\xef\xbb\xbf"))) == 1


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b'{"question": "\xff"}', r"rows.jsonl:1 is not UTF-8 \(byte 15 of the line\)"),
        (b'[{"from": "human", "value": "a"}]', "rows.jsonl:1 is not a JSON object"),
        (b"[" * 100_000, "rows.jsonl:1 is nested too deeply"),
        (b'{"a": ', "rows.jsonl:1 is not JSON"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path, line, sentence) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(line)
    with pytest.raises(BadEnvironment, match=sentence):
        load("qa", path=str(file))


def test_prompts_may_be_conversations_and_empty_cells_of_numbers_are_empty(tmp_path) -> None:
    rows = [VERL | {"severity": 1.0}, VERL | {"severity": float("nan")}]
    env = load("prompts", path=str(parquet(tmp_path, *rows)), test_share=0)
    first, second = env.tasks("train")
    assert first.messages[0].content == second.messages[0].content == "What is 2 + 2?"
    assert first.payload["question"] == "What is 2 + 2?"
    assert first.payload["severity"] == 1.0
    assert "severity" not in second.payload
