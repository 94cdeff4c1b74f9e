"""Tasks of instructions out of files, in the form that IFEval and IFBench ship."""

from __future__ import annotations

import csv
import json

import pytest

from munro.envs import BadEnvironment, load
from munro.envs.config import EnvConfig
from munro.envs.data.columns import messages_of
from munro.envs.data.published import as_ours
from munro.envs.data.rows import open_rows
from munro.envs.problem_set import ProblemSet
from munro.envs.prompts import Prompts

EVERY = dict.fromkeys(("N", "keyword", "language", "m", "n", "small_n", "word", "sep"))
"""Every argument stands in every row, the foreign ones empty."""
ROWS = [
    {"key": "7", "prompt": "What is moss? Use at least 2 pronouns and no more than 5 words.",
     "instruction_id_list": ["count:pronouns", "words:repeats"],
     "kwargs": [{**EVERY, "N": 2.0}, {**EVERY, "small_n": 1.0}]},
    {"key": "8", "prompt": "Describe a fern in title case.",
     "instruction_id_list": ["format:title_case"], "kwargs": [EVERY]},
    {"key": "9", "prompt": "Say it twice, and begin with a verb.",
     "instruction_id_list": ["words:start_verb", "words:start_verb"], "kwargs": [{}, None]},
]  # fmt: skip


def written(tmp_path, rows):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_a_published_file_is_read_as_it_ships(tmp_path):
    """Nobody trains on a benchmark: beside a test_path the tasks to train on are sampled."""
    env = load("instructions", test_path=written(tmp_path, ROWS), score="share", size=5)
    assert [env.gold_reply(task) is None for task in env.tasks("train")] == [False] * 5
    moss, fern, twice = env.tasks("test")
    assert [task.id for task in (moss, fern, twice)] == ["7", "8", "9"]
    assert moss.messages[-1].content == ROWS[0]["prompt"]
    half = env.grade(moss, "She saw him and she left.")
    assert (half.reward, half.passed) == (0.5, False)
    assert half.parts == {"count:pronouns": 1.0, "words:repeats": 0.0}
    assert env.grade(fern, "A Fern Is Green.").passed
    assert env.grade(twice, "Go on.").parts == {"words:start_verb": 1.0, "words:start_verb#2": 1.0}
    assert env.gold_reply(moss) is None


def test_a_climb_on_sampled_instructions_is_measured_on_a_benchmark(tmp_path):
    args = {"level": 1, "test_path": written(tmp_path, ROWS)}
    problems = ProblemSet([EnvConfig.model_validate({"path": "instructions", "args": args})], 0)
    assert {task.id for task in problems.held_out(10)} == {"7", "8", "9"}


def test_the_loose_mode_and_the_share_held_out_are_options(tmp_path):
    rows = [{**ROWS[1], "key": str(n), "prompt": f"Fern {n}?"} for n in range(200)]
    env = load("instructions", path=written(tmp_path, rows), mode="loose", test_share=0.3)
    train, test = env.tasks("train"), env.tasks("test")
    assert len(train) + len(test) == 200
    assert 40 <= len(test) <= 80
    assert env.grade(test[0], "Sure, here it is:\nA Fern").passed
    assert (
        load("instructions", path=written(tmp_path, rows))
        .grade(test[0], "Sure, here it is:\nA Fern")
        .reward
        == 0
    )


def test_rows_of_ones_own_hold_specs(tmp_path):
    own = {"prompt": "No comma.", "instructions": ["punctuation:no_comma", {"any": [
        {"id": "keywords:existence", "kwargs": {"keywords": ["moss"]}}]}]}  # fmt: skip
    (task,) = load("instructions", test_path=written(tmp_path, [own])).tasks("test")
    assert task.id == "1"
    assert load("instructions").grade(task, "moss").passed


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"instruction_id_list": ["count:pronoun", "words:repeats"]},
         r"rows.jsonl:1: there is no instruction 'count:pronoun'. Did you mean 'count:pronouns'\?"),
        ({"kwargs": [{"N": -1}]}, "rows.jsonl:1: 2 instructions, but 1 kwargs"),
        ({"kwargs": [{"N": "two"}, {}]}, "rows.jsonl:1: count:pronouns: N = 'two' must be a whole"),
        ({"kwargs": "none"}, "rows.jsonl:1: kwargs = 'none' must be a list"),
        ({"instruction_id_list": "count:pronouns"}, "instruction_id_list = .* must be a list"),
        ({"instruction_id_list": []}, "is empty: there is nothing to follow"),
        ({"instruction_id_list": None}, "rows.jsonl:1 has neither instruction_id_list nor instru"),
        ({"prompt": " "}, "rows.jsonl:1: the prompt is empty"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_with_its_line(tmp_path, change, sentence):
    with pytest.raises(BadEnvironment, match=sentence):
        load("instructions", path=written(tmp_path, [{**ROWS[0], **change}]))


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"mode": "lax"}, "mode = 'lax': give 'strict' or 'loose'"),
        ({"path": "nowhere.jsonl"}, "There is no file nowhere.jsonl"),
        ({"test_path": "nowhere.jsonl"}, "There is no file nowhere.jsonl"),
        ({"test_split": "test"}, "a test_split needs a path"),
        ({"path": "x.jsonl", "test_share": 1}, r"give a share in \[0, 1\)"),
    ],
)
def test_a_bad_option_is_one_sentence(args, sentence):
    with pytest.raises(BadEnvironment, match=sentence):
        load("instructions", **args)


HISTORY = [
    {"role": "system", "content": "Answer in French."},
    {"role": "user", "content": "My name is {Leo}."},
    {"role": "assistant", "content": "Bonjour."},
    {"role": "user", "content": "What is my name?"},
]
RUBRICS = ["Is the answer in French?", "Does it say {Leo}?"]
ADVANCED = {
    "conversation_history": json.dumps(HISTORY),
    "prompt_metadata": json.dumps({"rubrics": json.dumps(RUBRICS)}),
    "benchmark_name": "if_carried_context_oss",
}


def test_rows_of_advanced_if_are_read_from_its_csv(tmp_path):
    file = tmp_path / "if.csv"
    with file.open("w", newline="") as out:
        table = csv.DictWriter(out, [*ADVANCED, "response"])
        table.writeheader()
        table.writerow({**ADVANCED, "response": ""})
    env = Prompts(path=str(file), test_share=0.0)
    (task,) = env.tasks("train")
    assert [message.role for message in task.messages] == ["system", "user", "assistant", "user"]
    assert task.payload["criteria"] == ["Is the answer in French?", "Does it say {{Leo}}?"]
    assert task.labels == {"subset": "if_carried_context_oss"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"conversation_history": "[{"}, "f:3: conversation_history is not JSON"),
        ({"conversation_history": "[" * 100_000}, "f:3: conversation_history is not JSON"),
        ({"conversation_history": json.dumps(HISTORY[:3])}, "must end in something to answer"),
        ({"prompt_metadata": "{}"}, "f:3: prompt_metadata holds no 'rubrics'"),
        ({"prompt_metadata": json.dumps({"rubrics": []})}, "must be a list of criteria"),
        ({"prompt_metadata": json.dumps({"rubrics": ["a", " "]})}, "criterion 2 .* is no text"),
    ],
)
def test_a_bad_row_of_advanced_if_is_named(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        messages_of(as_ours({**ADVANCED, **change}, "f:3")["messages"], "messages", "f:3")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1\n", "x.csv:2 has not as many fields"),
        ("a,b\n1,2,3\n", "x.csv:2 has not as many fields"),
        ('a,b\n"1,2\n', "x.csv:.* is not CSV"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_line(tmp_path, text, sentence):
    file = tmp_path / "x.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        open_rows(str(file), "", "train")


def test_an_empty_field_of_a_table_is_none_and_long_ones_are_read(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text(f'\ufeffa,b\n"two\nlines",\n{"x" * 200_000},2\n')
    rows = open_rows(str(file), "", "train")
    assert (rows[0], len(rows[1]["a"]), rows.place(1)) == (
        {"a": "two\nlines", "b": None}, 200_000, "x.csv:4",
    )  # fmt: skip


def test_labels_are_a_table_of_texts():
    prompts = [{"prompt": "a", "labels": {"severity": 3}}]
    (task,) = Prompts(prompts=prompts, test_share=0.0).tasks("train")
    assert (task.labels, "labels" in task.payload) == ({"severity": "3"}, False)
    with pytest.raises(ValueError, match="prompts:0: labels = 'bad' must be a table of texts"):
        Prompts(prompts=[{"prompt": "a", "labels": "bad"}])
