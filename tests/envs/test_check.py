"""`env check` plays those who must pass and those who must not, and leaves nothing open."""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path
from typing import Literal

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from munro.envs import Budget, Ending, Grade, Message, Task, ToolCall, ToolUse, tool
from munro.envs.check import NOOP, check, played
from munro.envs.check.random_caller import random_caller, value_of
from munro.envs.problem_set import TaskPool

HERE = Path(__file__)


def count(change):
    """Vaults that are set up: told where every copy of this module finds it."""
    os.environ["MUNRO_TEST_VAULTS"] = str(int(os.environ.get("MUNRO_TEST_VAULTS", "0")) + change)


class Vault(ToolUse):
    """Opens by a code that only the clerk tells: no fixed reply can know it."""

    def tasks(self, split):
        return [
            Task(id=f"{split}{n}", prompt=f"Open the {split} vault.", payload={"n": n})
            for n in (1, 2)
        ]

    def setup(self, task):
        count(1)
        return {"code": random.randrange(10**9), "is_open": False}

    def teardown(self, state):
        count(-1)

    @tool
    def ask(self, state: dict) -> int:
        """The code."""
        return state["code"]

    @tool
    def enter(self, state: dict, code: int) -> str:
        """Enter a code."""
        state["is_open"] = code == state["code"]
        return "open" if state["is_open"] else "closed"

    def grade(self, task, reply, state):
        return Grade.of(state["is_open"] and reply == "It is open.")

    def gold_policy(self, task):
        async def policy(seen):
            turn = len(seen)
            if turn == 2:
                return "It is open."
            name, arguments = ("ask", {}) if not seen else ("enter", {"code": int(seen[0].content)})
            made = ToolCall(id=f"c{turn}", name=name, arguments=json.dumps(arguments))
            return Message(role="assistant", content="", tool_calls=(made,))

        return policy


class Idle(Vault):
    """Pays whoever does nothing."""

    def grade(self, task, reply, state):
        return state["is_open"] or reply == NOOP


class Open(Vault):
    """Pays whoever asks."""

    @tool
    def ask(self, state: dict) -> int:
        """The code."""
        state["is_open"] = True
        return state["code"]

    def grade(self, task, reply, state):
        return state["is_open"]


class Leaky(Vault):
    """Leaves a process of every episode."""

    def tasks(self, split):
        return [
            Task(id=f"{split}{n}", prompt=f"Open {split} {n}.", payload={"n": n}) for n in range(3)
        ]

    def start(self, task):
        os.posix_spawnp("sleep", ["sleep", "600"], os.environ)
        return super().start(task)


class Stuck(Vault):
    """Cannot close what nobody has played."""

    def start(self, task):
        episode = super().start(task)
        closes = episode.close

        async def close():
            if episode._state is None:
                raise KeyError("no state")
            await closes()

        episode.close = close
        return episode


def test_a_policy_that_acts_on_what_it_sees_proves_that_a_task_can_be_solved():
    os.environ["MUNRO_TEST_VAULTS"] = "0"
    report = check(f"{HERE}:Vault")
    assert (report.problems, report.warnings) == ((), ())
    assert report.grade.passed
    assert report.gold[0] == "ask({})"
    assert report.gold[1].startswith('enter({"code": ')
    assert report.gold[2] == "It is open."
    assert os.environ["MUNRO_TEST_VAULTS"] == "0"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Idle", "doing nothing ('done') passes, so there is nothing to learn"),
        ("Open", "calling its tools at random passes, so there is nothing to learn"),
        ("Stuck", "closing an episode that nobody has played failed: KeyError: 'no state'"),
    ],
)
def test_whoever_must_not_pass_is_named_in_one_line(name, told):
    report = check(f"{HERE}:{name}")
    assert told in report.problems[0]
    assert "\n" not in report.problems[0]


def test_processes_that_closed_episodes_leave_are_found():
    before = set(psutil.Process().children())
    try:
        report = check(f"{HERE}:Leaky")
        assert "processes are left behind by 12 closed episodes" in report.problems[0]
    finally:
        for child in set(psutil.Process().children()) - before:
            child.kill()
            child.wait()


def test_a_policy_goes_on_as_long_as_the_budget_lets_it():
    class Endless(Vault):
        budget = Budget(turns=7)

    def asks(seen):
        return '<tool_call>{"name": "ask"}</tool_call>'

    task = TaskPool(Endless(), "train").draw(0, 0)
    done = asyncio.run(played(Endless(), task, asks))
    assert len(done.said) == 7
    assert [(one.turn, one.name, one.ok) for one in done.trajectory.calls] == [
        (turn, "ask", True) for turn in range(7)
    ]
    assert len({one.id for one in done.trajectory.calls}) == 7


class Inner(BaseModel):
    x: float
    tags: list[str]


class Arguments(BaseModel):
    """Everything that a tool's arguments are commonly made of."""

    name: str = Field(min_length=3, max_length=8)
    count: int = Field(ge=2, lt=5)
    share: float = Field(gt=0, le=1)
    kind: Literal["a", "b"]
    maybe: int | None = None
    inner: Inner
    many: list[Inner] = Field(min_length=1, max_length=2)
    flag: bool = False


@given(st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_random_arguments_are_what_their_schema_allows(seed):
    value = value_of(Arguments.model_json_schema(), ["pear", "7", "fig"], random.Random(seed))
    Arguments.model_validate(value)


def test_random_calls_are_valid_seeded_and_find_what_was_observed():
    task = TaskPool(Vault(), "train").draw(0, 0)
    drawn = []
    for _ in range(2):
        policy = random_caller(task, NOOP)
        seen = [Message(role="tool", content="123456")]
        drawn.append([policy(seen) for _ in range(7)])
    assert drawn[0] == drawn[1]
    assert drawn[0][-1] == NOOP
    calls = [made for turn in drawn[0][:-1] for made in turn.tool_calls]
    assert {made.name for made in calls} == {"ask", "enter"}
    assert any(json.loads(made.arguments).get("code") == 123456 for made in calls)
    done = asyncio.run(played(Vault(), task, random_caller(task, NOOP)))
    assert done.trajectory.calls
    assert all(one.ok for one in done.trajectory.calls)
    assert done.trajectory.ending is Ending.ANSWERED


class Calm(ToolUse):
    """No tool fits what is asked: any words will do, and no call."""

    is_deaf = False

    def tasks(self, split):
        return [Task(id=f"{split}{n}", prompt=f"What is law {n} of {split}?") for n in (1, 2)]

    def setup(self, task):
        return {"calls": 0}

    @tool
    def ask(self, state: dict) -> str:
        """The clerk."""
        state["calls"] += 1
        return "?"

    def grade(self, task, reply, state):
        return bool(reply.strip()) and (self.is_deaf or not state["calls"])

    def gold_reply(self, task):
        return "I cannot look that up."


class Deaf(Calm):
    """Does not even mind calls."""

    is_deaf = True


def test_where_no_call_is_wanted_words_may_pass_but_calls_and_silence_may_not():
    report = check(f"{HERE}:Calm")
    assert report.problems == ()
    assert report.warnings == (
        "2 of 2 tasks want no call, and any words pass them: calls are all that fails",
    )
    (problem,) = check(f"{HERE}:Deaf").problems
    assert "calling its tools at random passes" in problem
