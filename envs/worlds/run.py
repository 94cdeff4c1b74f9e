"""One call of a world's tool: checked, carried out on the rows, answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from munro.envs.tool_use import is_text
from munro.envs.worlds.compose import World
from munro.envs.worlds.errors import Refused
from munro.envs.worlds.expression import DAY, LARGEST, Path, Value, evaluate, parse
from munro.envs.worlds.rows import MOST_ROWS, Row
from munro.envs.worlds.spec import Field, Tool
from munro.envs.worlds.state import State

Fact = tuple[str, str, str]
"""Table, key and field of a value that somebody was told."""

MOST_TOLD = 50
"""Rows that one answer tells."""
LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a call.

    Example:
        Result(text="7", told=frozenset({("shop.product", "P1042", "price")}))
    """

    text: str
    """What the caller reads."""
    error: str = ""
    """Why nothing was done; empty where it was."""
    told: frozenset[Fact] = frozenset()
    """What the answer says of the rows, and what it had to be told to find them."""
    writes: bool = False
    """It has changed something."""
    broken: tuple[str, ...] = ()
    """Numbers of the rules that forbade it: it was carried out all the same."""


@dataclass(frozen=True, slots=True)
class Change:
    """One row that a call would change."""

    kind: str
    """"insert", "update" or "delete"."""
    table: str
    key: Value
    values: Row
    """The whole new row, or the fields that change."""


def perform(world: World, state: State, name: str, arguments: Any) -> Result:
    """Carry out a call.

    Args:
        world: whose tool it is.
        state: that it reads and changes.
        name: of the tool.
        arguments: out of JSON, hostile.
    """
    tool = world.tools.get(name)
    if tool is None:
        return _failed(f"there is no tool {name[:40]!r}")
    try:
        given = _checked(world, name, tool, arguments)
        return _read(world, state, tool, given) if tool.find else _write(world, state, name, given)
    except Refused as refusal:
        return _failed(str(refusal))


def ids(world: World, name: str, arguments: Any) -> set[str]:
    """The ids that a call gives: those who call must have read them somewhere."""
    tool = world.tools.get(name)
    if tool is None or not isinstance(arguments, dict):
        return set()
    tables = {each: one.row for each, one in tool.parameters.items()}
    if tool.find:
        fields = world.tables[tool.find].fields
        tables = {each: fields[each].to or tool.find for each in tool.by if _is_id(fields[each])}
    given = set()
    for each, table in tables.items():
        if (
            table
            and each in arguments
            and _is_id(world.tables[table].fields[world.tables[table].key])
        ):
            given.add(str(arguments[each]))
    return given


def bound(world: World, state: State, tool: Tool, given: Mapping[str, Value]) -> dict[str, Any]:
    """What a tool's expressions know by name: plain values, and rows.

    Raises:
        Refused: there is no row of a key that was given.
    """
    known: dict[str, Any] = {}
    for name, parameter in tool.parameters.items():
        if not parameter.row:
            known[name] = given[name]
            continue
        row = state.row(parameter.row, given[name])
        if row is None:
            noun = world.tables[parameter.row].noun or "row"
            raise Refused(f"there is no {noun} {str(given[name])[:40]!r}")
        known[name] = (parameter.row, row)
    return known


def looked_up(world: World, state: State, known: Mapping[str, Any], path: Path) -> Value:
    """The value of a name in an expression; of a row itself, its key."""
    head, *rest = path
    value = known[head]
    for step in rest:
        table, row = value
        target = world.tables[table].fields[step].to
        value = row[step]
        if target:
            value = (target, state.row(target, value) or {})
    if isinstance(value, tuple):
        table, row = value
        key = world.tables[table].key
        if key not in row:
            raise Refused("what it points to is not there any more")
        return row[key]  # type: ignore[no-any-return]
    return value  # type: ignore[no-any-return]


def _is_id(field: Field) -> bool:
    return field.type in ("id", "ref")


def _failed(text: str) -> Result:
    return Result(text=f"Error: {text}", error=text)


def _checked(world: World, name: str, tool: Tool, arguments: Any) -> dict[str, Value]:
    """The arguments as the tool wants them.

    Raises:
        Refused: they are not.
    """
    if not isinstance(arguments, dict):
        raise Refused(f"{name}: the arguments are no JSON object")
    fields = {each: world.tables[tool.find].fields[each] for each in tool.by} if tool.find else {}
    wanted: dict[str, Field | None] = {
        **fields,
        **{each: None if one.row else one.as_field for each, one in tool.parameters.items()},
    }
    for each in arguments:
        if each not in wanted:
            there = ", ".join(wanted) or "none"
            raise Refused(f"{name}: there is no parameter {each[:40]!r}; there are: {there}")
    for each, field in wanted.items():
        if each not in arguments:
            raise Refused(f"{name}: {each} is missing")
        _fits(name, each, field, arguments[each], free=bool(tool.find))
    return {each: arguments[each] for each in wanted}


def _fits(name: str, each: str, field: Field | None, value: Any, *, free: bool) -> None:
    kind = "text" if field is None else field.type
    if kind in ("int", "bool"):
        want = int if kind == "int" else bool
        if type(value) is not want:
            told = "a whole number" if kind == "int" else "true or false"
            raise Refused(f"{name}: {each} must be {told}")
        if kind == "int" and abs(value) > LARGEST:
            raise Refused(f"{name}: {each} is too large")
        if kind == "int" and field and not free and not field.low <= value <= field.high:
            raise Refused(f"{name}: {each} must be between {field.low} and {field.high}")
        return
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_TEXT:
        raise Refused(f"{name}: {each} must be a text of at most {LONGEST_TEXT} letters")
    if not is_text(value):
        raise Refused(f"{name}: {each} holds half a surrogate pair, which is no text")
    if kind == "day" and not DAY.fullmatch(value):
        raise Refused(f"{name}: {each} must be a day, YYYY-MM-DD")
    if field and kind == "choice" and not free and value not in field.parts[0]:
        raise Refused(f"{name}: {each} must be one of {', '.join(field.parts[0])}")


def _read(world: World, state: State, tool: Tool, given: Mapping[str, Value]) -> Result:
    table = world.tables[tool.find]
    rows = state.find(tool.find, given, most=MOST_TOLD + 1)
    asked = ", ".join(f"{each} {value!r}" for each, value in given.items())
    noun = table.noun or "one"
    if not rows and not tool.many:
        raise Refused(f"there is no {noun} with {asked}")
    if len(rows) > 1 and not tool.many:
        raise Refused(f"there are several with {asked}")
    told = rows[:MOST_TOLD]
    facts = {
        (tool.find, str(row[table.key]), each) for row in told for each in (*tool.tell, *tool.by)
    }
    shown = [_shown(row, tool.tell) for row in told]
    text = json.dumps(shown) if tool.many else _as_text(shown[0])
    if len(rows) > MOST_TOLD:
        text += f"\n(the first {MOST_TOLD}; there are more)"
    return Result(text=text, told=frozenset(facts))


def _shown(row: Row, tell: tuple[str, ...]) -> Any:
    return row[tell[0]] if len(tell) == 1 else {each: row[each] for each in tell}


def _as_text(shown: Any) -> str:
    return shown if isinstance(shown, str) else json.dumps(shown)


def planned(
    world: World, state: State, name: str, given: Mapping[str, Value]
) -> tuple[tuple[str, ...], list[Change]]:
    """What a call that changes something would do, without doing it.

    Returns:
        The numbers of the rules that forbid it, and its changes.

    Raises:
        Refused: the tool would not do it.
    """
    tool = world.tools[name]
    known = bound(world, state, tool, given)

    def lookup(path: Path) -> Value:
        return looked_up(world, state, known, path)

    for condition in tool.require:
        if evaluate(parse(condition.that), lookup) is not True:
            raise Refused(condition.otherwise)
    broken = tuple(
        rule.id for rule in world.ruled(name) if evaluate(world.conditions[rule.id], lookup) is True
    )
    return broken, _changes(world, state, tool, known, lookup)


def _write(world: World, state: State, name: str, given: Mapping[str, Value]) -> Result:
    tool = world.tools[name]
    broken, changes = planned(world, state, name, given)
    made: Row | None = None
    facts: frozenset[Fact] = frozenset()
    for change in changes:
        match change.kind:
            case "delete":
                state.delete(change.table, change.key)
            case "update":
                state.update(change.table, change.key, change.values)
            case "insert":
                state.insert(change.table, change.values)
                if made is None:
                    made, key = change.values, str(change.key)
                    facts = frozenset((change.table, key, each) for each in tool.tell)
    text = _as_text(_shown(made, tool.tell)) if made and tool.tell else "done"
    return Result(text=text, told=facts, writes=True, broken=broken)


def _changes(
    world: World, state: State, tool: Tool, known: dict[str, Any], lookup: Any
) -> list[Change]:
    """All that a call would change, before any of it is done: a refusal changes nothing."""
    changes: list[Change] = []
    for effect in tool.do:
        if effect.delete:
            table, row = known[effect.delete]
            changes.append(Change("delete", table, row[world.tables[table].key], {}))
            continue
        values = {each: evaluate(parse(text), lookup) for each, text in effect.set.items()}
        if effect.update:
            table, row = known[effect.update]
            _all_fit(world, table, values)
            changes.append(Change("update", table, row[world.tables[table].key], values))
            known[effect.update] = (table, {**row, **values})
            continue
        table = effect.insert
        if state.count(table) >= MOST_ROWS:
            raise Refused("there is no room for more")
        spec = world.tables[table]
        _all_fit(world, table, values)
        if spec.fields[spec.key].type == "id":
            values[spec.key] = state.next_id(table)
        elif state.row(table, values[spec.key]) is not None:
            raise Refused(f"there is a {spec.noun or 'row'} {values[spec.key]!r} already")
        row = {each: values[each] for each in spec.fields}
        changes.append(Change("insert", table, row[spec.key], row))
        known["new_" + table.rpartition(".")[2]] = (table, row)
    return changes


def _all_fit(world: World, table: str, values: Mapping[str, Value]) -> None:
    """Raises Refused where a field would hold what it cannot."""
    for name, value in values.items():
        kind = world.tables[table].fields[name].type
        want: type = {"int": int, "bool": bool}.get(kind, str)
        if type(value) is not want:
            raise Refused(f"{name} would become {value!r}, which it cannot hold")
