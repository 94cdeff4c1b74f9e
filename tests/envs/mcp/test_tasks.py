"""Rows as tasks: which tools they show, what they expect, how they are graded."""

from __future__ import annotations

import asyncio
import json

import pytest

from munro.envs.check import check, played
from munro.envs.config import EnvConfig
from munro.envs.loader import BadEnvironment, load_config, resolve_config
from munro.envs.mcp.errors import BadServer
from tests.envs.mcp.playing import env_of, rows_in

COUNTER = {"counter": {"object": "tests.envs.mcp.objects:counter"}}
COUNT = {"name": "count", "arguments": {}}


def shown(task):
    return [tool["function"]["name"] for tool in task.tools]


def test_a_row_says_which_tools_it_shows(tmp_path):
    rows = [
        {"prompt": "a", "answer": "1"},
        {"prompt": "b", "answer": "1", "tools": ["fail", "count"]},
        {"prompt": "c", "answer": "1", "tools": '["both"]'},
        {"prompt": "d", "answer": "1", "tools": "both, count"},
        {"prompt": "e", "answer": "1", "tools": []},
        {"prompt": "f", "answer": "1", "calls": [COUNT]},
    ]
    tasks = env_of(tmp_path, *rows, servers=COUNTER).tasks("train")
    every = ["count", "sleep", "meet", "fail", "both"]
    expected = [every, ["count", "fail"], ["both"], ["count", "both"], [], every]
    assert [shown(task) for task in tasks] == expected


def test_distractors_are_drawn_beside_what_a_row_needs(tmp_path):
    rows = [
        {"prompt": "a", "answer": "1", "tools": ["fail"]},
        {"prompt": "b", "answer": "1", "calls": [COUNT]},
        {"prompt": "c", "answer": "1", "tools": []},
    ]
    tasks = env_of(tmp_path, *rows, servers=COUNTER, tools_shown=2).tasks("train")
    assert [len(task.tools) for task in tasks] == [2, 2, 2]
    assert "fail" in shown(tasks[0])
    assert "count" in shown(tasks[1])
    again = env_of(tmp_path, *rows, servers=COUNTER, tools_shown=2).tasks("train")
    assert [*tasks] == [*again]
    blind = env_of(tmp_path, {"prompt": "a", "answer": "1"}, servers=COUNTER, tools_shown=2)
    with pytest.raises(BadServer, match=r"rows\.jsonl:1: tools_shown = 2 of 5 tools, and the row"):
        blind.tasks("train")[0]


def test_the_answer_is_graded_and_what_it_is_asked_for(tmp_path):
    row = {"prompt": "Count.", "answer": "2", "calls": [[COUNT, COUNT]], "source": "me"}
    env = env_of(tmp_path, row, servers=COUNTER)
    task = env.tasks("train")[0]
    assert task.messages[-1].content.startswith("Count.\n\nEnd with a line")
    assert task.payload["source"] == "me"

    gold = asyncio.run(played(env, task, env.gold_policy(task)))
    assert gold.grade.passed
    assert [(call.name, call.ok) for call in gold.trajectory.calls] == [("count", True)] * 2
    for reply, passes in (("Answer: 2", True), ("I think\nAnswer: 2.", True), ("Answer: 3", False)):
        assert asyncio.run(played(env, task, [reply])).grade.passed is passes


def test_rows_without_answers_need_graders(tmp_path):
    args = {"path": rows_in(tmp_path, {"prompt": "Count twice."}), "servers": COUNTER}
    with pytest.raises(BadEnvironment, match="name graders in"):
        load_config(EnvConfig(path="mcp", args=args))
    graders = {"says": {"kind": "brevity"}}
    config = EnvConfig(path="mcp", args={**args, "test_share": 0}, graders=graders, reward="says")
    env = load_config(config)
    task = next(iter(env.tasks("train")))
    assert task.messages[-1].content == "Count twice."
    assert asyncio.run(played(env, task, ["it is 2"])).grade.reward > 0


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "a"}, "has no column 'prompt'"),
        ({"prompt": "a", "answer": "1", "tools": {"a": 1}}, "tools must be a list"),
        ({"prompt": "a", "answer": "1", "tools": [1]}, "must hold names of tools; it holds 1"),
        ({"prompt": "a", "answer": "1", "calls": "count()"}, "calls must be a list"),
        ({"prompt": "a", "answer": "1", "calls": [{"tool": "a"}]}, "must hold calls"),
        ({"prompt": "a", "answer": "1", "calls": [{"name": "a", "arguments": "{"}]}, "no JSON"),
        ({"prompt": "a", "answer": {"b": 1}}, "which is no text"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, said):
    with pytest.raises(ValueError, match=rf"rows.jsonl:1.*{said}"):
        env_of(tmp_path, row, servers=COUNTER)


def test_a_tool_that_a_row_names_must_be_there(tmp_path):
    env = env_of(tmp_path, {"prompt": "a", "answer": "1", "tools": ["cuont"]}, servers=COUNTER)
    with pytest.raises(BadServer, match=r"rows\.jsonl:1: there is no tool 'cuont'. Did you mean"):
        env.tasks("train")[0]


def test_no_rows_is_one_sentence(tmp_path):
    (tmp_path / "none.jsonl").write_text("\n")
    report = check("mcp", path=str(tmp_path / "none.jsonl"), servers=COUNTER)
    assert report.problems
    assert "holds no rows: write one task a line" in report.problems[0]
    none = {"a": {"object": "tests.envs.mcp.objects:nothing"}}
    report = check("mcp", path=rows_in(tmp_path), servers=none)
    assert report.problems[0].startswith("mcp: tasks('train') failed: the server 'a'")
    assert ".py:" not in report.problems[0]
    report = check("mcp", path=str(tmp_path / "nowhere.jsonl"), servers=COUNTER)
    assert "There is no file" in report.problems[0]


def test_another_process_finds_what_this_one_started(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("from tests.envs.mcp.objects import counter\n")
    rows_in(tmp_path)
    monkeypatch.chdir(tmp_path)
    servers = {"a": {"object": "./mine.py:counter"}, "b": {"command": ["./run.sh"]}}
    args = {"path": "rows.jsonl", "servers": servers}
    settled = resolve_config(EnvConfig(path="mcp", args=args)).args
    assert settled["path"] == str(tmp_path / "rows.jsonl")
    assert settled["servers"]["a"]["object"] == f"{tmp_path}/mine.py:counter"
    assert settled["servers"]["b"]["cwd"] == str(tmp_path)
    json.dumps(settled)
