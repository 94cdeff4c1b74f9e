"""Domains: those that come along hold together, and what is wrong with others is one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from munro.envs.worlds.compose import compose
from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.making.audit import audit
from munro.envs.worlds.rows import draw
from munro.envs.worlds.spec import available, domain, read
from munro.envs.worlds.state import State
from tests.envs.worlds.till import TOML

BROKEN = [
    ('find = "person"\nby = ["name"]', 'find = "ghost"\nby = ["name"]', "no table 'ghost'"),
    ('by = ["name"]', 'by = ["nam"]', "has no field 'nam'"),
    ("giver.coins >= coins", "giver.coin >= coins", "has no field 'coin'"),
    ("giver.coins >= coins", "purse.coins >= 1", "no parameter"),
    ("giver.coins >= coins", "giver.coins >=", "cannot be read at its end"),
    ('to = "person"', 'to = "nobody"', "no table 'nobody'"),
    ('{ delete = "purse" }', '{ delete = "purse", update = "purse" }', "exactly one of"),
    ('{ delete = "purse" }', '{ delete = "coins" }', "no parameter that names a row"),
    ('set = { person = "person", coins = "coins" }', 'set = { coins = "coins" }', "leaves person"),
    ('say = ["burn {purse}"]', 'say = ["burn {it}"]', "no parameter"),
    ('tool = "pay"', 'tool = "find_person"', "no tool that changes"),
    ('id = "R1"', 'id = "rule one"', "pattern"),
    ('about = "A till."', 'about = "A till."\ncode = "import os"', "code"),
    ("rows = 0", "rows = 100000", "2000"),
    ('about = "A till."', "about = A till.", "no TOML"),
    ('about = "A till."', "about = " + "[" * 20000, "no TOML"),
    ('id = { type = "id", prefix = "N" }', 'id = { type = "int" }', "key"),
]


@pytest.mark.parametrize(("old", "new", "said"), BROKEN)
def test_what_is_wrong_with_a_domain_is_one_line(old, new, said):
    assert old in TOML
    with pytest.raises(BadWorld, match=said) as caught:
        read(TOML.replace(old, new, 1), "till.toml")
    assert "\n" not in str(caught.value)
    assert "till" in str(caught.value)


@pytest.mark.parametrize("name", available())
def test_the_domains_that_come_along_hold_together(name):
    world = compose({name: domain(name)})
    audit(world, [State.of(world, draw(world, seed=str(seed))) for seed in range(6)])


def test_there_are_fourteen_and_they_make_one_world():
    names = [name for name in available() if name != "stall"]
    world = compose({name: domain(name) for name in names})
    assert len(names) >= 14
    assert len(world.tools) >= 120
    assert all(schema["function"]["name"] == name for name, schema in world.schemas.items())


def test_a_rule_that_contradicts_its_tool_is_named():
    # the tool refuses by itself what the rule forbids
    contradicting = TOML.replace(
        'forbids = "giver.person.banned"', 'forbids = "giver.coins < coins"'
    )
    world = compose({"till": read(contradicting, "till")})
    with pytest.raises(BadWorld, match="rule R1 contradicts its tool"):
        audit(world, [State.of(world, draw(world, seed="0"))])


def test_a_tool_that_can_never_act_is_named():
    useless = TOML.replace("giver.coins >= coins", "giver.coins > 1000")
    world = compose({"till": read(useless, "till")})
    with pytest.raises(BadWorld, match=r"tools\.pay"):
        audit(world, [State.of(world, draw(world, seed="0"))])


def test_the_domain_that_the_docs_show_holds_together():
    page = (Path(__file__).parents[3] / "docs" / "worlds.md").read_text()
    (shed,) = re.findall(r"```toml\n(about.*?)```", page, re.S)
    world = compose({"shed": read(shed, "shed.toml")})
    audit(world, [State.of(world, draw(world, seed=str(seed))) for seed in range(6)])


def test_domains_that_cannot_be_told_apart_are_refused():
    one = read(TOML, "till")
    with pytest.raises(BadWorld, match="twice in this world"):
        compose({"till": one, "tolls": one})


def test_references_in_a_circle_are_refused():
    circle = TOML.replace(
        'banned = { type = "bool" }', 'banned = { type = "ref", to = "purse" }'
    ).replace('forbids = "giver.person.banned"', 'forbids = "giver.coins > 5"')
    with pytest.raises(BadWorld, match="circle"):
        compose({"till": read(circle, "till")})


def test_an_unknown_domain_is_told_which_there_are():
    with pytest.raises(BadWorld, match="library"):
        domain("libary")
    with pytest.raises(BadWorld, match="no domain"):
        domain("../shop")


def test_rows_are_the_same_for_one_seed_and_too_few_values_are_said():
    world = compose({"till": read(TOML, "till")})
    assert draw(world, seed="1") == draw(world, seed="1") != draw(world, seed="2")
    few = TOML.replace('prefix = "N" }', 'prefix = "N", digits = 1 }').replace(
        "rows = 0", "rows = 10"
    )
    with pytest.raises(BadWorld, match=r"note\.id has too few values"):
        draw(compose({"till": read(few, "till")}), seed="1")
