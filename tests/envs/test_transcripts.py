"""Graders are handed the whole attempt: its transcript, its calls, and what its episode shows."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from munro.envs import Task, ToolUse, tool
from munro.envs.check.playing import played
from munro.envs.combined import Combined
from munro.envs.config import EnvConfig
from munro.envs.data.transcripts import transcript_of
from munro.envs.tool_use import ToolError
from munro.envs.types import Message, ToolCall
from munro.rewards.kinds import Grader, Kind
from munro.rewards.trajectory import transcript_of as read
from munro.rewards.types import Grade
from tests.builders import make_task, make_trajectory


class Keeps(Grader):
    """Remembers what it was given."""

    kind = Kind(is_light=True)
    items: ClassVar[list[dict[str, Any]]] = []

    def grade(self, item):
        self.items.append(dict(item))
        return Grade.of(True)


class Shop(ToolUse):
    """Sells pears, and shows what it sold."""

    def tasks(self, split):
        payload = {"transcript": "not this", "calls": "nor this", "cost": "3"}
        return [Task(id="pear", prompt="What does a pear cost?", payload=payload)]

    def setup(self, task):
        return {"asked": []}

    @tool
    def price(self, fruit: str, state: dict) -> int:
        "Price of one fruit."
        state["asked"].append(fruit)
        if fruit != "pear":
            raise ToolError("there is none")
        return 3

    def grade(self, task, reply, state):
        return task.payload["cost"] in reply

    def evidence(self, task, state):
        return {"diff": ", ".join(state["asked"])}


CALL = '<tool_call>{"name": "price", "arguments": {"fruit": "%s"}}</tool_call>'


def attempts(**grader):
    """What a grader of the first grade, and one of the whole group, were given."""
    Keeps.items.clear()
    kind = {"kind": f"{__name__}:Keeps", **grader}
    reward = {"kind": "gated", "gate": "now", "then": "task"}
    graders = {"now": kind, "later": {**kind, "late": True}}
    config = EnvConfig.model_validate({"path": "x", "graders": graders, "reward": reward})
    environment = Combined(Shop(), config.graders, config.reward)
    (task,) = environment.tasks("train")

    async def run():
        told = [CALL % "pear", CALL % "fig", "<think>so</think>It costs 3."]
        done = await played(environment, task, told)
        return await environment.grade_group(task, [done.trajectory], [done.grade])

    (grade,) = asyncio.run(run())
    assert grade.reward == 1
    assert not grade.evidence
    return Keeps.items


def test_every_grader_is_handed_transcript_calls_and_what_the_episode_shows():
    now, later = attempts()
    for item in (now, later):
        assert item["diff"] == "pear, fig"
        assert [(call["turn"], call["name"], call["ok"]) for call in item["calls"]] == [
            (0, "price", True),
            (1, "price", False),
        ]
        whole = read(item["transcript"], item["calls"])
        assert whole.opening == [("user", "What does a pear cost?")]
        assert [turn.says for turn in whole.turns] == ["", "", "It costs 3."]
        assert whole.calls[0].answer == "3"
        assert [call.is_ok for call in whole.calls] == [True, False]


def test_thoughts_are_shown_to_those_who_are_told_to_see_them():
    hidden, _ = attempts()
    assert "so" not in str(hidden["transcript"])
    said = Message(
        role="assistant",
        content="Done.",
        reasoning="so",
        raw="<think>so</think>Done.",
        tool_calls=(ToolCall(id="1", name="f", arguments="{}"),),
        is_sampled=True,
    )
    trajectory = make_trajectory(messages=(said,), reply="Done.")
    (_, shown) = transcript_of(make_task(), trajectory, thoughts=True)
    assert (shown["reasoning"], shown["content"]) == ("so", "Done.")
    (_, plain) = transcript_of(make_task(), trajectory, thoughts=False)
    assert "reasoning" not in plain
    assert read([plain]).calls[0].name == "f"


def test_an_episode_in_which_nothing_was_done_shows_nothing_and_makes_no_state():
    class Quiet(Shop):
        def setup(self, task):
            raise AssertionError("nobody called a tool, and nothing is shown")

    async def run():
        environment = Quiet()
        (task,) = environment.tasks("train")
        return await environment.start(task).evidence()

    assert asyncio.run(run()) == {}
