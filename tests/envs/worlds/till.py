"""A world small enough to check by hand: people, accounts of theirs, and a rule."""

from __future__ import annotations

from munro.envs.worlds.compose import compose
from munro.envs.worlds.spec import read
from munro.envs.worlds.state import State

TOML = """
about = "A till."

[tables.person]
noun = "person"
rows = 3
[tables.person.fields]
id = { type = "id", prefix = "P" }
name = { type = "person" }
banned = { type = "bool" }

[tables.purse]
noun = "purse"
rows = 3
[tables.purse.fields]
id = { type = "id", prefix = "U" }
person = { type = "ref", to = "person", label = "owner" }
coins = { type = "int", high = 99, label = "coins" }

[tables.note]
noun = "note"
rows = 0
[tables.note.fields]
id = { type = "id", prefix = "N" }
purse = { type = "ref", to = "purse" }

[tools.find_person]
about = "By name."
find = "person"
by = ["name"]
tell = ["id", "name"]

[tools.get_person]
about = "By id."
find = "person"
by = ["id"]
tell = ["id", "banned"]

[tools.purses_of]
about = "All of a person."
find = "purse"
by = ["person"]
many = true
tell = ["id", "coins"]

[tools.open_purse]
about = "A new one."
say = ["open a purse for {person}[ with {coins} coins]"]
tell = ["id"]
do = [
  { insert = "purse", set = { person = "person", coins = "coins" } },
  { insert = "note", set = { purse = "new_purse" } },
]
[tools.open_purse.parameters]
person = { row = "person" }
coins = { type = "int", low = 1, high = 9 }

[tools.pay]
about = "From one to another."
say = ["pay[ {coins} coins] from {giver} to {taker}"]
require = [{ that = "giver.coins >= coins", otherwise = "not enough coins" }]
do = [
  { update = "giver", set = { coins = "giver.coins - coins" } },
  { update = "taker", set = { coins = "taker.coins + coins" } },
]
[tools.pay.parameters]
giver = { row = "purse" }
taker = { row = "purse" }
coins = { type = "int", low = 1, high = 50 }

[tools.burn]
about = "A purse."
say = ["burn {purse}"]
parameters.purse = { row = "purse" }
do = [{ delete = "purse" }]

[[rules]]
id = "R1"
text = "Purses of the banned pay nothing."
tool = "pay"
forbids = "giver.person.banned"
"""

ROWS = {
    "till.person": [
        {"id": "P1", "name": "Ann Lee", "banned": False},
        {"id": "P2", "name": "Bo Kim", "banned": True},
    ],
    "till.purse": [
        {"id": "U10", "person": "P1", "coins": 20},
        {"id": "U11", "person": "P2", "coins": 5},
    ],
    "till.note": [],
}


def world():
    return compose({"till": read(TOML, "till")})


def scene():
    made = world()
    return made, State.of(made, ROWS)
