"""Calls of a world's tools, the model's mistakes among them."""

from __future__ import annotations

import random
import re

import pytest

from munro.envs.worlds.compose import compose
from munro.envs.worlds.rows import draw
from munro.envs.worlds.run import ids, perform
from munro.envs.worlds.spec import available, domain
from munro.envs.worlds.state import State
from tests.envs.worlds.till import scene


def test_a_look_up_tells_fields_and_what_it_was_told():
    world, state = scene()
    found = perform(world, state, "find_person", {"name": "ann LEE"})
    assert found.text == '{"id": "P1", "name": "Ann Lee"}'
    assert found.told == {("till.person", "P1", "id"), ("till.person", "P1", "name")}
    assert not found.writes
    many = perform(world, state, "purses_of", {"person": "P1"})
    assert many.text == '[{"id": "U10", "coins": 20}]'
    assert perform(world, state, "purses_of", {"person": "P9"}).text == "[]"


def test_a_change_changes_all_its_rows():
    world, state = scene()
    done = perform(world, state, "pay", {"giver": "U10", "taker": "U11", "coins": 7})
    assert (done.text, done.writes, done.broken) == ("done", True, ())
    assert [row["coins"] for row in state.rows()["till.purse"]] == [13, 12]


def test_a_rule_is_broken_and_the_call_carried_out():
    world, state = scene()
    done = perform(world, state, "pay", {"giver": "U11", "taker": "U10", "coins": 5})
    assert done.broken == ("R1",)
    assert [row["coins"] for row in state.rows()["till.purse"]] == [25, 0]


def test_a_new_row_is_known_to_the_next_effect():
    world, state = scene()
    done = perform(world, state, "open_purse", {"person": "P1", "coins": 3})
    assert done.text == "U12"
    assert state.rows()["till.note"] == [{"id": "N1", "purse": "U12"}]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("steal", {}, "there is no tool 'steal'"),
        ("pay", [], "no JSON object"),
        ("pay", {"giver": "U10", "taker": "U11"}, "coins is missing"),
        ("pay", {"giver": "U10", "taker": "U11", "coins": "7"}, "must be a whole number"),
        ("pay", {"giver": "U10", "taker": "U11", "coins": True}, "must be a whole number"),
        ("pay", {"giver": "U10", "taker": "U11", "coins": 10**30}, "too large"),
        ("pay", {"giver": "U10", "taker": "U11", "coins": 51}, "between 1 and 50"),
        ("pay", {"giver": "U10", "taker": "U11", "coins": 21}, "between|enough"),
        ("pay", {"giver": "U10", "taker": "U99", "coins": 1}, "no purse 'U99'"),
        ("pay", {"giver": {}, "taker": "U11", "coins": 1}, "must be a text"),
        ("pay", {"giver": "U10", "taker": "U11", "coins": 1, "tip": 1}, "no parameter 'tip'"),
        ("find_person", {"name": "x" * 1000}, "at most 200 letters"),
        ("find_person", {"name": "'; DROP TABLE person; --"}, "there is no person"),
        ("find_person", {}, "name is missing"),
    ],
)
def test_what_the_model_does_wrong_is_told_and_changes_nothing(name, arguments, said):
    world, state = scene()
    before = state.rows()
    found = perform(world, state, name, arguments)
    assert found.error
    assert re.search(said, found.text)
    assert "\n" not in found.text
    assert not found.told
    assert state.rows() == before


def test_a_refusal_in_the_middle_changes_nothing():
    world, state = scene()
    perform(world, state, "burn", {"purse": "U11"})
    before = state.rows()
    assert perform(world, state, "pay", {"giver": "U10", "taker": "U11", "coins": 1}).error
    assert state.rows() == before


def test_ids_are_what_a_call_must_have_read():
    world, _ = scene()
    assert ids(world, "pay", {"giver": "U10", "taker": "U11", "coins": 7}) == {"U10", "U11"}
    assert ids(world, "find_person", {"name": "Ann Lee"}) == set()
    assert ids(world, "purses_of", {"person": "P1"}) == {"P1"}
    assert ids(world, "pay", "U10") == set()


def test_copies_and_saved_states_go_their_own_way():
    world, state = scene()
    other = state.copy()
    perform(world, other, "burn", {"purse": "U11"})
    assert len(state.rows()["till.purse"]) == 2
    assert len(type(state).loaded(world, other.saved()).rows()["till.purse"]) == 1


HOSTILE = (
    None,
    True,
    0,
    -1,
    2**70,
    1.5,
    "",
    " ",
    "x" * 300,
    "\0",
    "\ud800",
    "'; --",
    [],
    {},
    ["x"],
    "2026-99-99",
)


@pytest.mark.parametrize("name", available())
def test_no_arguments_whatever_break_a_tool(name):
    world = compose({name: domain(name)})
    state = State.of(world, draw(world, seed="0"))
    rng = random.Random(name)
    keys = [
        row[spec.key] for each, spec in world.tables.items() for row in state.find(each, {}, most=5)
    ]
    for tool, schema in world.schemas.items():
        wanted = schema["function"]["parameters"]["properties"]
        for _ in range(40):
            given = {each: rng.choice([*HOSTILE, *keys]) for each in wanted}
            done = perform(world, state, tool, given)
            assert done.text
            ids(world, tool, given)
    types = {"int": int, "bool": bool}
    for each, rows in state.rows().items():
        for row in rows:
            for field, value in row.items():
                assert type(value) is types.get(world.tables[each].fields[field].type, str)
