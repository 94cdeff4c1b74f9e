"""`world` as an environment: what a climb sees of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from munro.envs import Message, ToolCall
from munro.envs.check import check, played
from munro.envs.loader import BadEnvironment, load
from munro.envs.world import MOST_CALLS, hermes
from munro.envs.worlds.compose import compose
from munro.envs.worlds.making.build import build
from munro.envs.worlds.making.draw import SHARES, Menu
from munro.envs.worlds.spec import domain
from munro.envs.worlds.task import WorldTask


def play(environment, task, replies):
    return asyncio.run(played(environment, task, replies))


def first(environment, kind, split="train"):
    tasks = environment.tasks(split)
    return next(
        task for task in (tasks[n] for n in range(len(tasks))) if task.labels["kind"] == kind
    )


@pytest.mark.parametrize(
    "args", [{"level": 1}, {"domains": ["bank"], "tools": 9, "num_tasks": 100}]
)
def test_env_check_finds_nothing(args):
    found = check("world", check_tasks=4, **args)
    assert found.problems == ()
    assert found.warnings == ()


def test_a_built_folder_is_played(tmp_path):
    build(compose({"clinic": domain("clinic")}), Menu(shares=SHARES), tmp_path / "t", num_tasks=30)
    environment = load("world", path=str(tmp_path / "t"))
    for split in ("train", "test"):
        tasks = environment.tasks(split)
        for place in range(min(len(tasks), 6)):
            task = tasks[place]
            assert play(environment, task, environment.gold_policy(task)).grade.solved


def test_train_and_test_ask_nothing_alike():
    environment = load("world", level=1, num_tasks=200)
    train, test = environment.tasks("train"), environment.tasks("test")
    assert (len(train), len(test)) == (200, 20)
    asked = {train[n].messages for n in range(200)}
    assert not any(test[n].messages in asked for n in range(20))
    again = load("world", level=1, num_tasks=200)
    assert again.tasks("train")[7] == train[7]


def test_an_episode_goes_on_where_it_was_saved():
    environment = load("world", level=1, num_tasks=60)
    task = first(environment, "write")
    (call,) = WorldTask.of(task.payload["task"]).gold[0]

    async def interrupted(last):
        episode = await environment.start(task)
        await episode.reply(Message(role="assistant", content=hermes(call)))
        saved = await episode.save()
        await episode.close()
        restored = await environment.restore(task, saved)
        done = await played(_Restored(restored), task, [last])
        return done.grade

    assert asyncio.run(interrupted("done")).solved
    assert not asyncio.run(interrupted("never")).solved


class _Restored:
    """An environment whose only episode is one that was restored."""

    def __init__(self, episode):
        self._episode = episode

    def start(self, task):
        return self._episode


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "no JSON object"),
        ('{"name": NaN}', "not JSON"),
        ("[" * 100000, "not JSON"),
        ('{"name": ["x"]}', "must be a text"),
    ],
)
def test_hostile_arguments_are_answered(arguments, said):
    environment = load("world", level=1, num_tasks=60)
    task = first(environment, "read")
    call = ToolCall(id="call00000", name="price", arguments=arguments)
    turn = Message(role="assistant", content="", tool_calls=(call,), is_sampled=True)
    done = play(environment, task, [turn, "7"])
    assert said in done.trajectory.messages[1].content
    assert not done.trajectory.calls[0].ok
    assert done.grade.parts["calls_valid"] == 0


def test_tools_that_a_task_does_not_show_are_not_there():
    environment = load("world", domains=["bank"], tools=8, num_tasks=60)
    task = first(environment, "missing_tool")
    hidden = "transfer" if "transfer" not in task.payload["task"]["tools"] else "block_card"
    done = play(environment, task, [hermes_of(hidden), "Answer: no tool"])
    assert f"there is no tool '{hidden}'" in done.trajectory.messages[1].content
    assert done.grade.solved


def hermes_of(name):
    return f"<tool_call>{json.dumps({'name': name, 'arguments': {}})}</tool_call>"


def test_calls_beyond_the_most_are_refused():
    environment = load("world", level=1, num_tasks=60)
    task = first(environment, "write")
    (call,) = WorldTask.of(task.payload["task"]).gold[0]
    done = play(environment, task, [hermes(call) * (MOST_CALLS + 3), "done"])
    assert f"more than {MOST_CALLS} calls" in done.trajectory.messages[-2].content
    assert not done.grade.solved


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"level": 2}, "level = 2"),
        ({"level": 1, "tools": 3}, "leave them out"),
        ({"kinds": {"wirte": 1}}, "wirte"),
        ({"kinds": {"write": 0}}, "above 0"),
        ({"domains": ["shpo"]}, "no domain 'shpo'"),
        ({"domains": ["shop", "shop"]}, "name one twice"),
        ({"path": "nowhere"}, "munro world build"),
        ({"path": "nowhere", "level": 1}, "leave the rest out"),
        ({"num_tasks": 3}, "at least 10"),
        ({"size": 0}, "above 0"),
    ],
)
def test_what_a_person_gets_wrong_is_one_line(args, said):
    with pytest.raises(BadEnvironment, match=said) as caught:
        load("world", **args)
    assert "\n" not in str(caught.value)
