"""Calls of one turn: at once where they may, answered in order, each within its own limit."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

from munro.envs import EnvironmentFailure, Message, Task, ToolCall, ToolError, ToolUse, tool
from munro.envs.base import Over, heard

NEVER = threading.Event()


class Desk(ToolUse):
    """Tools of every kind, and a log of what began and ended."""

    def __init__(self):
        self.log, self.most, self.running = [], 0, 0
        self.spans = {}
        """Of each call by its name, when it began and when it ended."""
        self.gate = threading.Barrier(8)

    def tasks(self, split):
        return [Task(id=split, prompt="?")]

    def setup(self, task):
        time.sleep(0.01)
        self.log.append("setup")
        return {}

    def grade(self, task, reply, state):
        return True

    async def spend(self, name, seconds):
        self.running += 1
        self.most = max(self.most, self.running)
        self.log.append(f"+{name}")
        began = time.monotonic()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.log.append(f"!{name}")
            raise
        finally:
            self.running -= 1
            self.spans[name] = began, time.monotonic()
        self.log.append(f"-{name}")
        return name

    @tool(limit_s=1.0)
    async def look(self, name: str, seconds: float = 0.1) -> str:
        """May run beside others, for it is async."""
        return await self.spend(name, seconds)

    @tool
    async def note(self, state: dict, name: str) -> str:
        """Uses the state."""
        state[name] = True
        return await self.spend(name, 0.05)

    @tool(parallel=False)
    async def write(self, name: str) -> str:
        """Must run alone, though it is async."""
        return await self.spend(name, 0.02)

    @tool(parallel=True)
    def read(self, name: str) -> str:
        """Not async, and may run beside others all the same: it waits until eight are open."""
        self.gate.wait(60)
        return name

    @tool
    def count(self, name: str) -> str:
        """Runs alone."""
        self.log.append(f"={name}")
        return name

    @tool(limit_s=0.1)
    def hang(self) -> str:
        """Never returns."""
        NEVER.wait()
        return ""

    @tool
    async def fail(self, seconds: float = 0.01) -> str:
        """The model's fault."""
        await self.spend("fail", seconds)
        raise ToolError("no such thing")

    @tool
    async def late(self) -> str:
        """Raises what looks like a limit, and is none."""
        raise TimeoutError("the service took too long")

    @tool
    async def lose(self) -> str:
        """The machinery's fault."""
        await asyncio.sleep(0.05)
        raise EnvironmentFailure("the box is gone")

    @tool(finishes=True)
    def submit(self, answer: str) -> str:
        """Ends the episode."""
        if answer == "?":
            raise ToolError("an answer, please")
        return "submitted"


def turn(*wanted):
    calls = tuple(
        ToolCall(id=f"c{n}", name=name, arguments=json.dumps(arguments))
        for n, (name, arguments) in enumerate(wanted)
    )
    return Message(role="assistant", content="", tool_calls=calls, is_sampled=True)


async def answers(*wanted):
    desk = Desk()
    episode = desk.start(next(iter(desk.tasks("train"))))
    given = await episode.reply(turn(*wanted))
    return desk, given


def all_open_at_once(spans):
    """The last one began before the first one ended, whatever else the machine had to do."""
    return max(began for began, _ in spans) < min(ended for _, ended in spans)


async def test_eight_slow_calls_are_open_at_once_and_answered_in_order():
    lengths = [0.2 - 0.02 * n for n in range(8)]
    wanted = [("look", {"name": str(n), "seconds": lengths[n]}) for n in range(8)]
    desk, given = await answers(*wanted)
    assert [one.content for one in given] == [str(n) for n in range(8)]
    assert [one.tool_call_id for one in given] == [f"c{n}" for n in range(8)]
    assert all_open_at_once(desk.spans.values())
    # each its own time: never less than it slept, but for the clock's own grain
    assert all(one.seconds > 0.9 * least for one, least in zip(given, lengths, strict=True))


async def test_of_eight_at_once_one_fails_one_hangs_and_six_are_answered():
    wanted = [("look", {"name": str(n), "seconds": 0.2}) for n in range(6)]
    wanted.insert(2, ("fail", {"seconds": 0.2}))
    wanted.insert(5, ("look", {"name": "hangs", "seconds": 600}))
    desk, given = await answers(*wanted)
    assert [one.content for one in given] == [
        "0",
        "1",
        "Error: no such thing",
        "2",
        "3",
        "Error: look took longer than 1 s and was given up",
        "4",
        "5",
    ]
    assert len(desk.spans) == desk.most == 8
    assert all_open_at_once(desk.spans.values())


async def test_a_tool_that_is_not_async_runs_beside_others_where_it_is_marked():
    _, given = await answers(*[("read", {"name": str(n)}) for n in range(8)])
    assert [one.content for one in given] == [str(n) for n in range(8)]


async def test_what_may_not_run_beside_others_waits_for_those_before_it_and_holds_up_the_rest():
    desk, given = await answers(
        ("look", {"name": "a"}),
        ("look", {"name": "b", "seconds": 0.02}),
        ("count", {"name": "c"}),
        ("write", {"name": "d"}),
        ("look", {"name": "e"}),
    )
    # who of two at once begins or ends first is nobody's promise
    assert {*desk.log[:2]} == {"+a", "+b"}
    assert {*desk.log[2:4]} == {"-a", "-b"}
    assert desk.log[4:] == ["=c", "+d", "-d", "+e", "-e"]
    assert [one.content for one in given] == list("abcde")


async def test_one_that_fails_or_hangs_or_cannot_be_read_leaves_the_others_alone():
    try:
        _, given = await answers(
            ("look", {"name": "a"}),
            ("fail", {}),
            ("look", {"name": "b", "seconds": 30}),
            ("nothing", {}),
            ("look", {"nom": "c"}),
            ("look", {"name": "d"}),
            ("hang", {}),
        )
    finally:
        NEVER.set()
    assert [one.error for one in given] == [
        "",
        "no such thing",
        "look took longer than 1 s and was given up",
        "there is no tool 'nothing'; there are: count, fail, hang, late, look, lose, note, read, "
        "submit, write",
        "look: name: Field required; nom: Extra inputs are not permitted",
        "",
        "hang took longer than 0.1 s and was given up",
    ]
    assert [one.content for one in given if not one.error] == ["a", "d"]
    assert all(one.content == f"Error: {one.error}" for one in given if one.error)


async def test_broken_machinery_ends_the_turn_at_once_and_is_no_observation():
    desk = Desk()
    episode = desk.start(next(iter(desk.tasks("train"))))
    with pytest.raises(EnvironmentFailure, match="the box is gone"):
        await episode.reply(turn(("look", {"name": "a", "seconds": 0.9}), ("lose", {})))
    assert desk.log == ["+a", "!a"]  # given up, not waited for


async def test_a_time_limit_of_the_tools_own_is_an_exception_like_any_other():
    with pytest.raises(TimeoutError, match="the service took too long"):
        await answers(("late", {}))


async def test_the_state_is_made_once_for_calls_that_run_at_once():
    desk, _ = await answers(*[("note", {"name": str(n)}) for n in range(5)])
    assert desk.log.count("setup") == 1
    assert desk.most == 5


async def test_a_tool_that_finishes_ends_the_episode_unless_it_fails():
    _, given = await answers(("count", {"name": "a"}), ("submit", {"answer": "?"}))
    assert [one.error for one in given] == ["", "an answer, please"]
    wanted = turn(("fail", {}), ("submit", {"answer": "42"}))
    _, given = await answers(("fail", {}), ("submit", {"answer": "42"}))
    assert isinstance(given, Over)
    observations, records = heard(0, wanted, given, 1.0)
    assert observations is None
    assert [(one.name, one.ok, one.error) for one in records] == [
        ("fail", False, "no such thing"),
        ("submit", True, ""),
    ]
