"""Conversations against mock interfaces: played whole, graded by end states and answers."""

from __future__ import annotations

import asyncio
import json

import pytest

from munro.envs import Message, ToolCall
from munro.envs.base import call
from munro.envs.check import check, played
from munro.envs.loader import load
from tests.envs.bfcl.stand_in import made


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return str(made(tmp_path_factory.mktemp("package")))


@pytest.fixture(scope="module")
def env(package):
    return load("bfcl", data=package)


def task_of(env, task_id):
    return next(
        task for side in ("train", "test") for task in env.tasks(side) if task.id == task_id
    )


def says(*calls):
    made = tuple(
        ToolCall(id=f"c{n}", name=name, arguments=json.dumps(arguments))
        for n, (name, arguments) in enumerate(calls)
    )
    content = "" if calls else "So."
    return Message(role="assistant", content=content, tool_calls=made, is_sampled=True)


def attempt(env, task_id, *turns):
    turns = iter([says(*turn) for turn in turns])
    task = task_of(env, task_id)
    return asyncio.run(played(env, task, lambda seen: next(turns)))


NOTE, SUM, LOOK, TICKET = ("note", {"text": "tea"}), ("add", {"a": 2, "b": 3}), ("look", {}), ()
TICKET = ("ticket", {})


def test_gold_passes_everywhere_and_whoever_does_nothing_nowhere(env):
    for task in [*env.tasks("train"), *env.tasks("test")]:
        assert asyncio.run(played(env, task, env.gold_policy(task))).grade.passed, task.id
        if "irrelevance" not in task.id:
            idle = asyncio.run(played(env, task, lambda seen: "done"))
            assert not idle.grade.passed, task.id


def test_the_check_finds_nothing_to_mend(package):
    report = check("bfcl", data=package)
    assert report.problems == ()


def test_the_user_speaks_again_when_a_turn_calls_nothing_and_tools_answer(env):
    done = attempt(env, "multi_turn_base_0", [NOTE], [TICKET], [], [SUM], [])
    assert done.grade.passed
    heard = [(one.role, one.content) for one in done.trajectory.messages if one.role != "assistant"]
    number = json.loads(heard[1][1])["ticket"]
    assert heard == [
        ("tool", "None"),
        ("tool", f'{{"ticket": {number}}}'),
        ("user", "Sum it: 2 and 3."),
        ("tool", '{"result": 5}'),
    ]
    assert [one.ok for one in done.trajectory.calls] == [True] * 3


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([[], [SUM], []], "turn 0: no tool was called"),
        ([[NOTE, NOTE, TICKET], [], [SUM], []], "turn 0: another end state of TicketAPI"),
        ([[NOTE], [], [SUM], []], "turn 0: 1 of 2 answers were never had"),
        ([[NOTE, TICKET], [], [("add", {"a": 2, "b": 4})], []], "turn 1: 1 of 1 answers"),
        ([[NOTE, TICKET], [], []], "turn 1: no tool was called"),
        ([[("note", {"text": "tea", "times": "3"}), NOTE, TICKET], [], [SUM], []], ""),
        ([[LOOK, TICKET, NOTE], [], [LOOK], [SUM], []], ""),
    ],
)
def test_states_and_answers_decide_after_every_turn_of_the_user(env, turns, reason):
    grade = attempt(env, "multi_turn_base_0", *turns).grade
    assert grade.passed is (not reason)
    assert grade.reason.startswith(reason)


def test_an_answer_had_in_an_earlier_turn_counts_and_a_state_alone_does_not(env):
    assert attempt(env, "multi_turn_base_0", [NOTE, TICKET, SUM], [], [LOOK], []).grade.passed
    assert not attempt(env, "multi_turn_base_1", [TICKET], []).grade.passed  # nothing has changed


def test_a_part_tells_how_many_calls_are_golds(env):
    detour = attempt(env, "multi_turn_base_0", [LOOK, TICKET, NOTE], [], [LOOK], [SUM], [])
    assert detour.grade.passed
    assert detour.grade.parts["calls"] == pytest.approx(2 * 3 / (3 + 5))
    # what a call is made with counts here, be it all the same to the interface
    other = attempt(env, "multi_turn_base_0", [NOTE, TICKET], [], [("add", {"a": 3, "b": 2})], [])
    assert other.grade.passed
    assert other.grade.parts["calls"] == pytest.approx(2 / 3)


def test_a_tool_that_is_missing_is_shown_in_words_when_it_comes(env):
    task = task_of(env, "multi_turn_miss_func_0")
    shown = [tool["function"]["name"] for tool in task.tools]
    assert shown == ["look", "ticket", "add"]  # note comes later, pay never
    done = attempt(env, task.id, [], [("note", {"text": "tea", "times": 2})], [], [LOOK], [])
    assert done.grade.passed
    assert done.grade.parts == {"turns": 1.0, "restraint": 1.0, "calls": 1.0}
    (told,) = [one.content for one in done.trajectory.messages if '"note"' in one.content]
    assert json.loads(told.partition("\n\n")[2])[0]["function"]["parameters"]["type"] == "object"
    bold = attempt(
        env, task.id, [LOOK], [], [("note", {"text": "tea", "times": 2})], [], [LOOK], []
    )
    assert bold.grade.passed
    assert bold.grade.parts["restraint"] == 0.0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("_hidden", {}), "there is no tool '_hidden'; there are: note, look"),
        (("__init__", {}), "there is no tool '__init__'"),
        (("look", {"m": 1}), "unexpected keyword argument 'm'"),
        (("note", {"text": ""}), "nothing to note"),
        (("pay", {"card": "no", "amount": 1}), "Error during execution: 'no'"),
        (("note", ["tea"]), "a call is written with its arguments as a table"),
    ],
)
def test_what_a_policy_does_wrong_is_told_and_changes_nothing(env, wrong, told):
    done = attempt(env, "multi_turn_base_0", [wrong, NOTE, TICKET], [], [SUM], [])
    assert told in done.trajectory.messages[1].content
    assert [one.ok for one in done.trajectory.calls] == [False, True, True, True]
    assert done.grade.passed


def test_a_call_that_would_never_end_or_fill_the_memory_is_given_up_and_the_rest_goes_on(
    env, monkeypatch
):
    pool = env._interfaces._pool()
    monkeypatch.setattr(pool, "_cpu_s", 0.3)
    bombs = [("crunch", {"n": 10**12}), ("fill", {"n": 10**3})]
    done = attempt(env, "multi_turn_miss_param_0", [], [bombs[0], NOTE, bombs[1], TICKET], [])
    assert [one.error for one in done.trajectory.calls] == [
        "crunch was given up: it takes too long",
        "",
        "fill was given up: it needs too much memory",
        "",
    ]
    assert done.grade.passed


def test_an_attempt_whose_calls_cannot_all_be_made_again_fails_and_is_scored(env, monkeypatch):
    async def late():
        task = task_of(env, "multi_turn_miss_param_0")
        episode = await call(env.start, task)
        await episode.reply(says())
        (done,) = await episode.reply(says(("crunch", {"n": 10**7})))
        assert not done.error
        await episode.reply(says())
        monkeypatch.setattr(env._interfaces._pool(), "_cpu_s", 0.02)
        return await episode.grade(None)

    grade = asyncio.run(late())
    assert (grade.passed, grade.reason) == (False, "all its calls together: it takes too long")


def test_what_one_attempt_does_to_the_modules_reaches_no_other(env):
    for _ in range(3):
        done = attempt(
            env, "multi_turn_long_context_0", [("pay", {"card": "gold", "amount": 5})], []
        )
        assert done.trajectory.messages[1].content == '{"balance": 95}'
        assert done.grade.passed
    spent = attempt(env, "multi_turn_long_context_0", [("pay", {"card": "gold", "amount": 6})], [])
    assert not spent.grade.passed


def test_steps_without_end_end_the_episode(env):
    right = [LOOK, ("add", {"a": 17, "b": 4})]
    done = attempt(env, "multi_turn_base_1", right, *[[LOOK]] * 30)
    assert len(done.said) == 21
    assert done.grade.reason == "it ended in turn 0 of 0 to 0"


def test_an_attempt_that_a_limit_ends_before_its_last_word_does_not_pass(env):
    task = task_of(env, "multi_turn_base_1")
    turns = [says(LOOK, ("add", {"a": 17, "b": 4})), says(LOOK)]
    assert not asyncio.run(played(env, task, turns)).grade.passed
    assert asyncio.run(played(env, task, [*turns, says()])).grade.passed


def test_an_attempt_goes_on_from_what_it_saved(env, package):
    async def interrupted():
        task = task_of(env, "multi_turn_base_0")
        episode = await call(env.start, task)
        await episode.reply(says(NOTE))
        (first,) = await episode.reply(says(TICKET))
        await episode.reply(says())
        saved = await episode.save()
        await call(episode.close)
        other = await call(load("bfcl", data=package).restore, task, saved)
        (again,) = await other.reply(says(TICKET))
        await other.reply(says(SUM))
        assert await other.reply(says()) is None
        return first.content, again.content, await other.grade(None)

    first, again, grade = asyncio.run(interrupted())
    assert first != again  # the second draw, not the first once more
    assert grade.passed


def test_all_interfaces_may_be_shown(package):
    wide = load("bfcl", data=package, tools="all", categories="multi_turn_base")
    task = task_of(wide, "multi_turn_base_0")
    assert len(task.tools) == 7
    assert asyncio.run(played(wide, task, wide.gold_policy(task))).grade.passed


def test_conversations_of_one_scene_are_held_out_together(package):
    env = load("bfcl", data=package, test_share=0.5)
    sides = {task.labels["cluster"]: side for side in ("train", "test") for task in env.tasks(side)}
    for side in ("train", "test"):
        assert all(sides[task.labels["cluster"]] == side for task in env.tasks(side))
    assert not [*load("bfcl", data=package, test_share=1.0).tasks("train")]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"data": "/nowhere"}, "data = '/nowhere': no package bfcl_eval is there. pip install"),
        ({"categories": ["parallell"]}, "there is no 'parallell'"),
        ({"tools": "many"}, "tools = 'many': write 'task' or 'all'."),
        ({"test_share": 2}, "test_share = 2: give a share in [0, 1]."),
    ],
)
def test_whoever_says_it_wrong_gets_one_line(package, args, told):
    report = check("bfcl", **({"data": package} | args))
    assert told in report.problems[0]
    assert "\n" not in report.problems[0]


def test_a_package_that_lacks_a_file_is_named(tmp_path):
    folder = made(tmp_path / "package")
    (folder / "bfcl_eval" / "data" / "BFCL_v4_parallel.json").unlink()
    (problem,) = check("bfcl", data=str(folder)).problems
    assert "BFCL_v4_parallel.json is not there. This reads version 2026.3.23" in problem
