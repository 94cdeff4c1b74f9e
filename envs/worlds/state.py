"""The rows of one episode: tables of SQLite in memory, and nothing but rows in them.

Names of tables and fields come out of a checked domain and are quoted; values are bound.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from munro.envs.worlds.compose import World
from munro.envs.worlds.expression import Value
from munro.envs.worlds.rows import Row, Rows

TYPES = {"int": "INTEGER", "bool": "INTEGER"}
"""SQLite's, where a field is no text."""


class State:
    """Every table of a world. Used by one thread at a time."""

    def __init__(self, world: World, db: sqlite3.Connection) -> None:
        self._world, self._db = world, db
        self._tables: dict[str, list[tuple[Any, ...]]] = {}

    @classmethod
    def of(cls, world: World, rows: Rows) -> State:
        """A new one that holds these rows."""
        db = _opened()
        for name, table in world.tables.items():
            fields = ", ".join(
                f"{_quoted(each)} {TYPES.get(field.type, 'TEXT COLLATE NOCASE')}"
                + (" PRIMARY KEY" if each == table.key else "")
                for each, field in table.fields.items()
            )
            db.execute(f"CREATE TABLE {_quoted(name)} ({fields})")
            marks = ", ".join("?" * len(table.fields))
            db.executemany(
                f"INSERT INTO {_quoted(name)} VALUES ({marks})",
                ([row[each] for each in table.fields] for row in rows[name]),
            )
        return cls(world, db)

    @classmethod
    def loaded(cls, world: World, saved: bytes) -> State:
        """One out of what `saved` gave."""
        db = _opened()
        db.deserialize(saved)
        return cls(world, db)

    def saved(self) -> bytes:
        """All of it as bytes."""
        return self._db.serialize()

    def copy(self) -> State:
        """The same rows, whatever becomes of these."""
        other = State.loaded(self._world, self.saved())
        # what has been read of a table holds for the copy until it changes that table
        other._tables = dict(self._tables)
        return other

    def close(self) -> None:
        """Free the memory."""
        self._db.close()

    def row(self, table: str, key: Value) -> Row | None:
        """One row; None where there is none of that key."""
        found = self.find(table, {self._world.tables[table].key: key}, most=1)
        return found[0] if found else None

    def find(self, table: str, where: Mapping[str, Value], *, most: int) -> list[Row]:
        """Rows that have these values (texts in whatever case), in the order they were made."""
        clause = " AND ".join(f"{_quoted(each)} = ?" for each in where) or "1"
        found = self._db.execute(
            f"SELECT * FROM {_quoted(table)} WHERE {clause} ORDER BY rowid LIMIT ?",
            [*where.values(), most],
        )
        return [self._row(table, values) for values in found]

    def count(self, table: str) -> int:
        """Rows of a table."""
        (number,) = self._db.execute(f"SELECT COUNT(*) FROM {_quoted(table)}").fetchone()
        return int(number)

    def next_id(self, table: str) -> str:
        """One that no row of the table has."""
        spec = self._world.tables[table]
        prefix = spec.fields[spec.key].prefix
        (last,) = self._db.execute(
            f"SELECT MAX(CAST(SUBSTR({_quoted(spec.key)}, ?) AS INTEGER)) FROM {_quoted(table)}",
            [len(prefix) + 1],
        ).fetchone()
        return f"{prefix}{(last or 0) + 1}"

    def insert(self, table: str, row: Row) -> None:
        """A new row; every field of the table is in it."""
        self._tables.pop(table, None)
        fields = ", ".join(map(_quoted, row))
        marks = ", ".join("?" * len(row))
        self._db.execute(
            f"INSERT INTO {_quoted(table)} ({fields}) VALUES ({marks})", [*row.values()]
        )

    def update(self, table: str, key: Value, values: Mapping[str, Value]) -> None:
        """Other values in one row."""
        self._tables.pop(table, None)
        fields = ", ".join(f"{_quoted(each)} = ?" for each in values)
        key_field = _quoted(self._world.tables[table].key)
        self._db.execute(
            f"UPDATE {_quoted(table)} SET {fields} WHERE {key_field} = ?", [*values.values(), key]
        )

    def delete(self, table: str, key: Value) -> None:
        """One row less."""
        self._tables.pop(table, None)
        key_field = _quoted(self._world.tables[table].key)
        self._db.execute(f"DELETE FROM {_quoted(table)} WHERE {key_field} = ?", [key])

    def rows(self) -> Rows:
        """All rows of all tables."""
        return {name: self.find(name, {}, most=-1) for name in self._world.tables}

    def table(self, name: str) -> list[tuple[Any, ...]]:
        """All rows of one table as they are stored, in the order in which they were made."""
        if name not in self._tables:
            rows = self._db.execute(f"SELECT * FROM {_quoted(name)} ORDER BY rowid")
            self._tables[name] = rows.fetchall()
        return self._tables[name]

    def by_key(self, name: str) -> dict[Value, Row]:
        """The same, each as a row, by its key."""
        key = self._world.tables[name].key
        return {row[key]: row for row in (self._row(name, each) for each in self.table(name))}

    def _row(self, table: str, values: tuple[Any, ...]) -> Row:
        fields = self._world.tables[table].fields
        return {
            name: bool(value) if field.type == "bool" else value
            for (name, field), value in zip(fields.items(), values, strict=True)
        }


def _opened() -> sqlite3.Connection:
    # an episode may be answered by one thread and closed by another, never by two at once
    return sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
