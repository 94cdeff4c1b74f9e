"""Attempts that are nearly right: what a grade must refuse."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from munro.envs.worlds.compose import World
from munro.envs.worlds.errors import Refused
from munro.envs.worlds.expression import Value
from munro.envs.worlds.rows import value
from munro.envs.worlds.run import planned
from munro.envs.worlds.state import State
from munro.envs.worlds.task import Call, WorldTask, flat

Turns = tuple[tuple[Call, ...], ...]
TRIES = 16


@dataclass(frozen=True, slots=True)
class Damage:
    """A wrong attempt that ends in the right answer."""

    what: str
    """"dropped", "wrong", "swapped" or "extra"."""
    turns: Turns


def dropped(task: WorldTask) -> Iterator[Damage]:
    """Each call left out, one at a time."""
    for turn, calls in enumerate(task.gold):
        for place in range(len(calls)):
            kept = (*calls[:place], *calls[place + 1 :])
            yield Damage("dropped", _put(task.gold, turn, kept))


def wrong(world: World, base: State, task: WorldTask, rng: random.Random) -> Iterator[Damage]:
    """Each argument that names or finds a row, made to name another one."""
    for turn, calls in enumerate(task.gold):
        for place, call in enumerate(calls):
            for name in call.arguments:
                other = _other(world, base, call, name, rng)
                if other is None:
                    continue
                changed = Call(call.tool, {**call.arguments, name: other})
                yield Damage("wrong", _put(task.gold, turn, _at(calls, place, changed)))


def swapped(task: WorldTask) -> Iterator[Damage]:
    """Two arguments of the same type exchanged, within a call or between two of one tool."""
    places = [
        (turn, place, name)
        for turn, calls in enumerate(task.gold)
        for place, call in enumerate(calls)
        for name in call.arguments
    ]
    want = Counter(call.key for call in flat(task.gold))
    for first, (turn, place, name) in enumerate(places):
        for turn_2, place_2, name_2 in places[first + 1 :]:
            one, two = task.gold[turn][place], task.gold[turn_2][place_2]
            same = (turn, place) == (turn_2, place_2)
            if not same and (one.tool != two.tool or name != name_2):
                continue
            left, right = one.arguments[name], two.arguments[name_2]
            if left == right or type(left) is not type(right):
                continue
            if same:
                gold = _changed(task.gold, turn, place, {name: right, name_2: left})
            else:
                gold = _changed(task.gold, turn, place, {name: right})
                gold = _changed(gold, turn_2, place_2, {name_2: left})
            if Counter(call.key for call in flat(gold)) != want:
                yield Damage("swapped", gold)


def extra(world: World, base: State, task: WorldTask, rng: random.Random) -> Iterator[Damage]:
    """A call more at the beginning, that changes something, for each tool that would."""
    for name in task.tools:
        tool = world.tools[name]
        if not tool.writes:
            continue
        for _ in range(TRIES):
            given: dict[str, Value] = {}
            for each, one in tool.parameters.items():
                rows = base.find(one.row, {}, most=-1) if one.row else []
                if one.row and not rows:
                    break
                given[each] = (
                    rng.choice(rows)[world.tables[one.row].key]
                    if one.row
                    else value(one.as_field, rng)
                )
            try:
                if len(given) < len(tool.parameters):
                    break
                _, changes = planned(world, base, name, given)
            except Refused:
                continue
            rows_now = [
                base.row(one.table, one.key) if one.kind == "update" else None for one in changes
            ]
            does = any(
                row is None or any(row[each] != new for each, new in one.values.items())
                for row, one in zip(rows_now, changes, strict=True)
            )
            call = Call(name, given)
            if does and call.key not in {each.key for each in flat(task.gold)}:
                yield Damage("extra", ((call,), *task.gold))
                break


def _other(world: World, base: State, call: Call, name: str, rng: random.Random) -> Value | None:
    """Another row's value for an argument; None where it names no row."""
    tool = world.tools[call.tool]
    if tool.find:
        field = world.tables[tool.find].fields[name]
        table, each = (field.to, world.tables[field.to].key) if field.to else (tool.find, name)
    else:
        table = tool.parameters[name].row
        if not table:
            return None
        each = world.tables[table].key
    values = {row[each] for row in base.find(table, {}, most=-1)} - {call.arguments[name]}
    return rng.choice(sorted(values, key=str)) if values else None


def _put(gold: Turns, turn: int, calls: tuple[Call, ...]) -> Turns:
    turns = (*gold[:turn], calls, *gold[turn + 1 :])
    return tuple(each for each in turns if each)


def _at(calls: Sequence[Call], place: int, call: Call) -> tuple[Call, ...]:
    return (*calls[:place], call, *calls[place + 1 :])


def _changed(gold: Turns, turn: int, place: int, values: dict[str, Value]) -> Turns:
    call = gold[turn][place]
    new = Call(call.tool, {**call.arguments, **values})
    return _put(gold, turn, _at(gold[turn], place, new))
