"""The rows of a world, made by chance: the same seed makes the same rows."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import date, timedelta

from munro.envs.worlds.compose import World
from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.expression import Value
from munro.envs.worlds.names import FIRST_NAMES, LAST_NAMES
from munro.envs.worlds.spec import Field, Table

Row = dict[str, Value]
Rows = dict[str, list[Row]]

FIRST_DAY = date(2026, 1, 1)
MOST_ROWS = 2000
"""Of a table, also of one that an episode has added to."""
MOST_DRAWS = 200


def draw(world: World, *, seed: str, size: float = 1.0) -> Rows:
    """All rows of a world, by table.

    Args:
        world: whose tables are filled.
        seed: of every draw.
        size: times the rows that each table names.

    Raises:
        BadWorld: a field has too few values for the rows that need one of their own.
    """
    rng = random.Random(f"rows/{seed}")
    rows: Rows = {}
    for name, table in world.tables.items():
        rows[name] = _filled(name, table, rows, world.tables, rng, size)
    return rows


def _filled(
    name: str,
    table: Table,
    rows: Rows,
    tables: Mapping[str, Table],
    rng: random.Random,
    size: float,
) -> list[Row]:
    made: dict[Value, Row] = {}
    wanted = max(1, round(table.rows * size)) if table.rows else 0
    if wanted > MOST_ROWS:
        raise BadWorld(f"{name} would have {wanted} rows, and {MOST_ROWS} are the most: less size")
    for _ in range(wanted):
        row: Row = {}
        for each, field in table.fields.items():
            if field.to and not rows[field.to]:
                raise BadWorld(f"{name}.{each} points into {field.to}, which has no rows")
            if field.to:
                row[each] = rng.choice(rows[field.to])[tables[field.to].key]
            elif each != table.key:
                row[each] = value(field, rng)
        row[table.key] = _unused(name, table, made, rng)
        made[row[table.key]] = {each: row[each] for each in table.fields}
    return [*made.values()]


def _unused(name: str, table: Table, made: Mapping[Value, Row], rng: random.Random) -> Value:
    field = table.fields[table.key]
    for _ in range(MOST_DRAWS):
        drawn = value(field, rng)
        if drawn not in made:
            return drawn
    raise BadWorld(
        f"{name}.{table.key} has too few values for {len(made) + 1} rows: give it more parts or "
        "digits, or make the world smaller"
    )


def value(field: Field, rng: random.Random) -> Value:
    """A value that a field may hold; of a "ref" there is none without the rows it points into."""
    match field.type:
        case "id":
            first = 10 ** (field.digits - 1)
            return f"{field.prefix}{rng.randrange(first, 10 * first)}"
        case "person":
            return f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"
        case "int":
            return rng.randint(field.low, field.high)
        case "day":
            return (FIRST_DAY + timedelta(rng.randint(field.low, field.high))).isoformat()
        case "bool":
            return rng.random() < 0.5
        case "text" | "choice":
            return field.join.join(rng.choice(part) for part in field.parts)
    raise BadWorld(f'a field of type "{field.type}" has no values of its own')
