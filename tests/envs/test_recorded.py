"""Recorded conversations: read in the forms that tables write, replayed, and judged."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from munro.envs.check.playing import played
from munro.envs.config import EnvConfig
from munro.envs.loader import BadEnvironment, load_config
from munro.envs.recorded import NOT_RECORDED, Recorded
from munro.envs.types import Message, ToolCall

TOOL = {"type": "function", "function": {"name": "price", "parameters": {"type": "object"}}}
ASKED = [{"role": "system", "content": "Sell fruit."}, {"role": "user", "content": "A pear?"}]
FORMS: dict[str, list[dict[str, Any]]] = {
    "openai": [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "b", "function": {"name": "price", "arguments": '{"of": "fig"}'}},
                {"id": "a", "function": {"name": "price", "arguments": {"of": "pear", "n": 1}}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "3"},
        {"role": "tool", "tool_call_id": "b", "content": "1"},
    ],
    "functions": [
        {"role": "assistant", "content": "", "function_call": {"name": "price", "arguments": a}}
        for a in ('{"of": "fig"}', '{"n": 1, "of": "pear"}')
    ]
    + [{"role": "function", "name": "price", "content": c} for c in ("1", "3")],
    "turns": [
        {"role": "tool_call", "content": '{"name": "price", "arguments": {"of": "fig"}}'},
        {"role": "tool_response", "content": "1"},
        {
            "role": "tool_call",
            "content": '{"name": "price", "arguments": "{\\"of\\": \\"pear\\", \\"n\\": 1}"}',
        },
        {"role": "tool_response", "content": "3"},
    ],
}
REST = [
    {"role": "assistant", "content": "3 coins."},
    {"role": "user", "content": "And that of two?"},
    {"role": "assistant", "content": "6 coins."},
]


def row(form: str = "openai", **more: Any) -> dict[str, Any]:
    return {"messages": [*ASKED, *FORMS[form], *REST], "tools": [TOOL], **more}


def written(folder: Path, *rows: Any) -> Recorded:
    file = folder / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(one)}\n" for one in rows))
    return Recorded(str(file), test_share=0)


def call(**arguments: Any) -> Message:
    made = ToolCall(id="c1", name="price", arguments=json.dumps(arguments))
    return Message(role="assistant", content="", tool_calls=(made,), is_sampled=True)


@pytest.mark.parametrize("form", FORMS)
def test_a_recorded_call_is_answered_as_it_was(tmp_path: Path, form: str) -> None:
    plain = row(form, uuid="u1", quality=None, criteria="short")
    texts = {**plain, "messages": json.dumps(plain["messages"]), "tools": json.dumps([TOOL])}
    for one in (plain, texts):
        (task,) = written(tmp_path, one).tasks("train")
        assert [m.role for m in task.messages] == ["system", "user"]
        assert (task.id, task.payload["criteria"]) == ("u1", "short")
        assert (task.payload["question"], task.payload["reference"]) == ("A pear?", "6 coins.")
        assert task.tools[0]["function"]["name"] == "price"
        episode = written(tmp_path, one).start(task)
        (answer,) = episode.reply(call(n=1, of="pear"))  # type: ignore[misc]
        assert (answer.content, answer.error) == ("3", "")
        (answer,) = episode.reply(call(of="plum"))  # type: ignore[misc]
        assert answer.error == NOT_RECORDED
        (user,) = episode.reply(Message(role="assistant", content="3", is_sampled=True))  # type: ignore[misc]
        assert (user.role, user.content) == ("user", "And that of two?")
        assert episode.reply(Message(role="assistant", content="6", is_sampled=True)) is None


def test_a_call_that_was_made_twice_is_answered_in_its_order(tmp_path: Path) -> None:
    calls = [
        {"role": "tool_call", "content": '{"name": "price", "arguments": {}}'},
        {"role": "tool_response", "content": "first"},
    ] * 2
    calls[3] = {"role": "tool_response", "content": "second"}
    environment = written(tmp_path, {"messages": [*ASKED, *calls, REST[0]], "tools": [TOOL]})
    episode = environment.start(environment.tasks("train")[0])
    said = [episode.reply(call())[0].content for _ in range(3)]  # type: ignore[index]
    assert said == ["first", "second", "second"]


def test_judges_grade_it_and_the_recorded_assistant_is_gold(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{json.dumps(row('functions'))}\n{json.dumps(row('turns'))}\n")
    config = EnvConfig.model_validate(
        {
            "path": "recorded",
            "args": {"path": str(file), "test_share": 0},
            "graders": {"brief": {"kind": "brevity"}},
            "reward": "brief",
        }
    )
    environment = load_config(config)
    for task, turns in zip(environment.tasks("train"), (3, 4), strict=True):
        done = asyncio.run(played(environment, task, environment.gold_policy(task)))
        assert len(done.said) == turns
        assert all(one.ok for one in done.trajectory.calls)
        assert len(done.trajectory.calls) == 2
        assert done.trajectory.reply == "6 coins."
        assert 0.9 < done.grade.parts["brief"] < 1
    with pytest.raises(BadEnvironment, match="name graders"):
        load_config(EnvConfig(path="recorded", args={"path": str(file)}))


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ({"messages": "[", "tools": [TOOL]}, "is not JSON|what is not JSON"),
        ({"messages": [], "tools": [TOOL]}, "messages must be a list"),
        ({"messages": ASKED}, "holds no turn of the assistant"),
        ({"messages": REST}, "answers no user"),
        (
            {"messages": [*ASKED, {"role": "tool", "content": "3"}]},
            r"messages\[2\] answers no call",
        ),
        ({"messages": [*ASKED, {"role": "judge", "content": "3"}]}, "'judge' is none"),
        ({"messages": [*ASKED, {"role": "tool_call", "content": "price"}]}, "what is not JSON"),
        ({"messages": [*ASKED, {"role": "tool_call", "content": "{}"}]}, "a call without a name"),
        (
            {"messages": [*ASKED, *REST], "tools": [{"type": "function"}]},
            r"tools\[0\] is no function",
        ),
    ],
)
def test_a_row_that_is_none_is_one_line(tmp_path: Path, bad: Any, line: str) -> None:
    with pytest.raises(ValueError, match=line) as refused:
        written(tmp_path, bad)
    assert "rows.jsonl:1" in str(refused.value)
    assert "\n" not in str(refused.value)
