"""Attempts in the till, graded by hand-made truth."""

from __future__ import annotations

import re

import pytest

from munro.envs.worlds.grade import answer_of, conduct, is_same
from munro.envs.worlds.making.prove import attempt, refuted
from munro.envs.worlds.play import play
from munro.envs.worlds.task import Call, WorldTask
from tests.envs.worlds.till import scene

FIND = Call("find_person", {"name": "Ann Lee"})
PURSES = Call("purses_of", {"person": "P1"})
CHECK = Call("get_person", {"id": "P1"})
OPEN = Call("open_purse", {"person": "P1", "coins": 3})
ALL = ("find_person", "get_person", "purses_of", "open_purse", "pay", "burn")
P1 = ("till.person", "P1", "id")


def opening(**changed):
    given = {
        "kind": "write",
        "ask": "Open a purse for the person Ann Lee with 3 coins.",
        "tools": ALL,
        "gold": ((FIND,), (OPEN,)),
        "answer": "done",
        "evidence": (P1,),
    }
    return WorldTask(**{**given, **changed})


def passes(task, turns, reply="Answer: done"):
    world, base = scene()
    return attempt(world, base, task, turns, reply)


def test_the_end_counts_and_not_the_way():
    assert passes(opening(), [[FIND], [OPEN]]).solved
    assert passes(opening(), [[PURSES, FIND], [CHECK], [FIND], [OPEN]]).solved
    # the id of the new row is another one where something had been made and burnt before
    detour = [[FIND], [OPEN], [Call("burn", {"purse": "U12"})]]
    assert not passes(opening(), detour).solved
    assert not passes(opening(), [[FIND], [OPEN], [OPEN]]).solved
    assert not passes(
        opening(), [[FIND], [Call("open_purse", {"person": "P1", "coins": 4})]]
    ).solved


def test_new_ids_say_nothing_but_what_they_are_of_does():
    two = opening(gold=((FIND,), (OPEN, Call("open_purse", {"person": "P1", "coins": 5}))))
    turns = [[FIND], [Call("open_purse", {"person": "P1", "coins": 5}), OPEN]]
    assert passes(two, turns).solved


def test_an_id_that_nobody_told_is_a_guess():
    found = passes(opening(), [[OPEN]])
    assert found.parts["state"] == 1
    assert found.parts["evidence"] == 0
    assert not found.solved
    # not even in the turn in which it is asked for: the answer has not been read then
    assert not passes(opening(), [[FIND, OPEN]]).solved
    assert passes(
        opening(ask="Open a purse for person P1 with 3 coins.", evidence=()), [[OPEN]]
    ).solved


def test_a_guess_is_no_evidence_by_being_looked_up():
    task = opening(
        kind="read",
        gold=((FIND,), (PURSES,)),
        answer="20",
        evidence=(P1, ("till.purse", "U10", "coins")),
    )
    assert passes(task, task.gold, "Answer: 20").solved
    assert not passes(task, [[PURSES], [PURSES]], "Answer: 20").solved
    assert not passes(task, [], "Answer: 20").solved


def test_a_rule_broken_and_undone_is_broken():
    back = [
        [Call("pay", {"giver": "U11", "taker": "U10", "coins": 5})],
        [Call("pay", {"giver": "U10", "taker": "U11", "coins": 5})],
    ]
    task = opening(
        kind="policy",
        ask="Pay 5 coins from purse U11 to purse U10.",
        gold=(),
        answer="refused R1",
        evidence=(),
    )
    assert passes(task, [], "Answer: refused R1").solved
    found = passes(task, back, "Answer: refused R1")
    assert found.parts["state"] == 1
    assert found.parts["rules"] == 0
    assert not found.solved


def test_a_call_where_none_is_needed_fails():
    task = opening(kind="no_tool", ask="What is 2 + 2?", gold=(), answer="4", evidence=())
    assert passes(task, [], "4").solved
    assert not passes(task, [[FIND]], "4").solved
    assert not passes(task, [[Call("nothing", {})]], "4").solved


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Answer: 7", "7"),
        ("I looked.\n**Answer:** 7", "7"),
        ("Answer: 5\nNo.\nanswer: 7", "7"),
        ("7", "7"),
        ("", ""),
    ],
)
def test_the_last_answer_counts(reply, answer):
    assert answer_of(reply) == answer


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        ("7", "7.0", True),
        ("7", "07", True),
        ("7", "7 or 8", False),
        ("7; 8", "7;8", True),
        ("7; 8", "8; 7", False),
        ("Ann Lee", '"ann  lee".', True),
        ("true", "Yes", True),
        ("refused R1", "refused", False),
        ("7", "", False),
        ("7", "9" * 5000, False),
    ],
)
def test_answers_are_compared_slot_by_slot(gold, answer, same):
    assert is_same(gold, answer) is same


def test_how_well_the_calls_were_made():
    world, base = scene()
    task = opening(gold=((FIND, PURSES), (OPEN,)))

    def parts(turns):
        _, log, _ = play(world, base, task.ask, ALL, turns)
        return conduct(task, log)

    assert set(parts(task.gold).values()) == {1.0}
    assert parts([[FIND], [PURSES], [OPEN]])["parallel"] == 0
    assert parts([[FIND, PURSES], [FIND, OPEN]])["duplicates"] == 0.75
    assert parts([[FIND, PURSES], [OPEN], [PURSES]])["duplicates"] == 1  # a change lies between
    assert parts([[FIND, PURSES], [Call("gone", {}), OPEN]])["calls_valid"] == 0.75
    assert parts([[FIND, PURSES], [OPEN], [FIND], [PURSES], [CHECK]])["economy"] == 0.5


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (opening(), ""),
        (
            opening(
                answer="never", gold=((FIND,), (Call("open_purse", {"person": "P9", "coins": 3}),))
            ),
            "a call of gold fails|gold fails",
        ),
        (opening(kind="read", gold=(), evidence=()), "doing nothing passes"),
        (opening(kind="read", gold=((FIND,),), evidence=(), answer="20"), "beginning of gold"),
        (opening(gold=((FIND,), (PURSES, OPEN))), "without a call"),
        (opening(ask="Open a purse for the person Ann Lee."), "nobody says '3'"),
        (opening(kind="no_tool", ask="x", gold=(), evidence=(), answer="done"), "doing nothing"),
    ],
)
def test_what_is_no_task_is_refuted(task, why):
    world, base = scene()
    found = refuted(world, base, task)
    assert re.search(why, found) if why else found == ""
