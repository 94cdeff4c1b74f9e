"""Every kind of task, as it is drawn: proven, and what its name says."""

from __future__ import annotations

import random
from functools import cache

import pytest

from munro.envs.worlds.compose import compose
from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.making.damage import dropped, extra, swapped, wrong
from munro.envs.worlds.making.draw import SHARES, Menu, draw, is_held_out
from munro.envs.worlds.making.kinds import KINDS
from munro.envs.worlds.making.phrases import optional, spoken
from munro.envs.worlds.making.prove import attempt, refuted
from munro.envs.worlds.making.questions import BANK, TERSE, question
from munro.envs.worlds.rows import draw as draw_rows
from munro.envs.worlds.spec import domain
from munro.envs.worlds.state import State
from munro.envs.worlds.task import Call, WorldTask, flat

NAMES = ("shop", "library", "bank")
EACH = 6


@cache
def scene():
    world = compose({name: domain(name) for name in NAMES})
    return world, State.of(world, draw_rows(world, seed="0"))


@cache
def drawn(kind):
    world, base = scene()
    menu = Menu(shares={kind: 1.0}, num_tools=20)
    return [draw(world, base, menu, seed=f"{kind}/{n}") for n in range(EACH)]


def test_all_nine_kinds_are_drawn_unless_others_are_named():
    assert set(KINDS.names()) == SHARES.keys()
    assert len(SHARES) == 9


@pytest.mark.parametrize("kind", SHARES)
def test_a_drawn_task_is_proven(kind):
    world, base = scene()
    for task in drawn(kind):
        assert task.kind == kind
        assert refuted(world, base, task) == ""
        assert len(task.tools) == len(set(task.tools)) == 20
        assert {call.tool for call in flat(task.gold)} <= set(task.tools)
        assert WorldTask.of(task.as_data()) == task
        assert not attempt(world, base, task, (), "done").solved


def test_damaged_attempts_are_refused():
    world, base = scene()
    for kind in SHARES:
        for number, task in enumerate(drawn(kind)):
            rng = random.Random(number)
            damaged = [
                *dropped(task),
                *wrong(world, base, task, rng),
                *swapped(task),
                *extra(world, base, task, rng),
            ]
            for damage in damaged:
                reply = f"Answer: {task.answer}"
                grade = attempt(world, base, task, damage.turns, reply)
                assert not grade.solved, (task, damage)


def test_a_chain_needs_one_answer_after_another():
    assert all(len(task.gold) >= 3 for task in drawn("chain"))


def test_parallel_calls_stand_in_one_turn():
    assert all(max(map(len, task.gold)) > 1 for task in drawn("parallel"))


def test_a_forbidden_call_would_be_carried_out():
    world, _ = scene()
    for task in drawn("policy"):
        rule = next(rule for rule in world.rules if task.answer == f"refused {rule.id}")
        assert rule.tool in task.tools
        assert rule.tool not in {call.tool for call in flat(task.gold)}
        assert rule.text in world.policy(task.tools)


def test_what_is_missing_is_not_said():
    world, _ = scene()
    for task in drawn("missing_information"):
        name = task.answer.removeprefix("missing ")
        assert any(name in optional(said) for tool in task.tools for said in world.tools[tool].say)
        assert not task.gold


def test_no_tool_that_is_there_can_do_what_is_asked():
    world, base = scene()
    for task in drawn("missing_tool"):
        assert not task.gold
        assert not attempt(world, base, task, (), "Answer: done").solved
        told = attempt(
            world, base, task, [[Call("find_member", {"name": "Nobody At All"})]], "Answer: no tool"
        )
        assert told.solved  # to have looked is no fault


def test_any_call_fails_where_no_tool_is_needed():
    world, base = scene()
    for task in drawn("no_tool"):
        reply = f"Answer: {task.answer}"
        assert attempt(world, base, task, (), reply).solved
        assert attempt(world, base, task, (), task.answer).solved
        assert not attempt(world, base, task, [[Call(task.tools[0], {})]], reply).solved


@pytest.mark.parametrize("kind", [*BANK, *TERSE])
def test_questions_have_an_answer(kind):
    for seed in range(20):
        ask, answer = question(random.Random(seed), (kind,))
        assert ask
        assert answer


def test_a_kind_that_cannot_be_had_is_one_line():
    stall = compose({"stall": domain("stall")})
    base = State.of(stall, draw_rows(stall, seed="0"))
    with pytest.raises(BadWorld, match="kind 'policy'"):
        draw(stall, base, Menu(shares={"policy": 1.0}), seed="0")


def test_phrases_leave_out_what_is_missing():
    said = "renew {loan}[ by {days} days]"
    assert spoken(said, {"loan": "it", "days": "3"}) == "renew it by 3 days"
    assert spoken(said, {"loan": "it"}) == "renew it"
    assert optional(said) == ["days"]


def test_one_request_in_ten_is_held_out():
    held = sum(is_held_out(f"price {n}?") for n in range(2000))
    assert 140 < held < 260
