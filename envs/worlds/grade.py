"""An attempt at a task, graded by what is true when it has ended.

Passed: the rows are as the goal has them, the last line answers what was asked, everything that
this depends on had been looked up (or it was a guess), and no rule was broken on the way. Which
calls were made, and in which order, is all the same; how well they were made is told in parts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations

from munro.envs.worlds.compose import World
from munro.envs.worlds.expression import Value
from munro.envs.worlds.play import Log, play
from munro.envs.worlds.rows import Row
from munro.envs.worlds.state import State
from munro.envs.worlds.task import WorldTask, flat
from munro.rewards.types import Grade

ANSWER = re.compile(r"^[ \t*_#>-]*answer[*_ ]*:[ \t*_]*(.*?)[ \t*_]*$", re.I | re.M)
NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,10})?")
WORDS = {"yes": "true", "no": "false"}
LONGEST = 2000
"""Letters of a reply's end that are read."""
DEEPEST = 8
"""New rows that point to new rows."""
PARTS = ("state", "answer", "evidence", "rules", "calls")
"""All of them must be 1 to pass."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What has become of the rows. New ids say nothing: only what is in the rows counts."""

    gone: frozenset[tuple[str, Value]]
    changed: frozenset[tuple[str, Value, str, Hashable]]
    new: frozenset[tuple[Hashable, int]]
    """Rows by what they hold, and how many of each there are."""


def difference(world: World, before: State, after: State) -> Difference:
    """From the one to the other."""
    gone: set[tuple[str, Value]] = set()
    made: dict[tuple[str, Value], Row] = {}
    changed: list[tuple[str, Value, str, Value]] = []
    for table in world.tables:
        if before.table(table) == after.table(table):
            continue
        old, now = before.by_key(table), after.by_key(table)
        gone |= {(table, key) for key in old.keys() - now.keys()}
        made |= {(table, key): now[key] for key in now.keys() - old.keys()}
        changed += [
            (table, key, name, new)
            for key in old.keys() & now.keys()
            for name, new in now[key].items()
            if new != old[key][name]
        ]

    def told(table: str, name: str, value: Value, depth: int) -> Hashable:
        target = world.tables[table].fields[name].to
        row = made.get((target, value)) if target else None
        return value if row is None else content(target, row, depth + 1)

    def content(table: str, row: Row, depth: int = 0) -> Hashable:
        if depth > DEEPEST:
            return table
        fields = world.tables[table].fields
        return (
            table,
            tuple(
                (name, told(table, name, value, depth))
                for name, value in row.items()
                if fields[name].type != "id"
            ),
        )

    return Difference(
        frozenset(gone),
        frozenset(
            (table, key, name, told(table, name, new, 0)) for table, key, name, new in changed
        ),
        frozenset(Counter(content(table, row) for (table, _), row in made.items()).items()),
    )


def goal(world: World, base: State, task: WorldTask) -> Difference:
    """What gold makes of the rows."""
    after, _, _ = play(world, base, task.ask, world.tools, task.gold)
    try:
        return difference(world, base, after)
    finally:
        after.close()


def grade(
    world: World,
    base: State,
    task: WorldTask,
    after: State,
    log: Log,
    reply: str,
    *,
    wanted: Difference | None = None,
) -> Grade:
    """Judge an attempt.

    Args:
        world: of the task.
        base: the rows as they were before it.
        task: what was asked.
        after: the rows as they are after it.
        log: what it did.
        reply: its last turn.
        wanted: the task's `goal`, where it is known already.
    """
    wanted = goal(world, base, task) if wanted is None else wanted
    found = difference(world, base, after)
    unread = [fact for fact in task.evidence if fact not in log.told]
    called = bool(log.made) and task.kind == "no_tool"
    must = {
        "state": float(found == wanted),
        "answer": float(is_same(task.answer, answer_of(reply))),
        "evidence": float(not unread and not log.guessed),
        "rules": float(not log.broken),
        "calls": float(not called),
    }
    reason = ""
    if not must["state"]:
        reason = "the rows are not as they should be"
    elif log.broken:
        reason = f"rule {log.broken[0]} was broken"
    elif called:
        reason = "no tool was needed"
    elif log.guessed:
        reason = "a row was changed whose id nobody had told"
    elif unread:
        reason = f"{len(unread)} of {len(task.evidence)} things it depends on were never looked up"
    elif not must["answer"]:
        reason = f"answered {answer_of(reply)[:40]!r}"
    passed = all(must.values())
    parts = must | conduct(task, log)
    return Grade(reward=float(passed), passed=passed, parts=parts, reason=reason)


def conduct(task: WorldTask, log: Log) -> dict[str, float]:
    """How well the calls were made, each from 0 to 1.

    Returns:
        calls_valid: share of the calls that were carried out.
        duplicates: share of the calls that say nothing twice (a look-up again, with no change in
            between).
        parallel: F1 of the pairs of calls made in one turn, against the gold's.
        economy: gold's number of calls over the attempt's, where that is more.
    """
    made = log.made
    valid = sum(one.ok for one in made)
    seen: set[str] = set()
    again = 0
    for one in made:
        if one.writes:
            seen.clear()
        again += one.key in seen
        seen.add(one.key)
    number = len(made)
    gold = [[call.key for call in turn] for turn in task.gold]
    turns = [[one.key for one in made if one.turn == turn] for turn in {one.turn for one in made}]
    return {
        "calls_valid": valid / number if number else 1.0,
        "duplicates": 1 - again / number if number else 1.0,
        "parallel": _f1(_pairs(gold), _pairs(turns)),
        "economy": min(1.0, len(flat(task.gold)) / number) if number else 1.0,
    }


def answer_of(reply: str) -> str:
    """What a reply's last line answers; the whole reply where no line begins "Answer:"."""
    end = reply[-LONGEST:]
    found = ANSWER.findall(end)
    return (found[-1] if found else end).strip()


def is_same(gold: str, answer: str) -> bool:
    """Whether an answer says what the gold one does: the same values in the same order."""
    return _slots(gold) == _slots(answer)


def _slots(answer: str) -> list[str | Decimal]:
    slots = []
    for slot in answer.split(";"):
        plain = " ".join(slot.casefold().strip().strip("\"'`.").split())
        plain = WORDS.get(plain, plain)
        slots.append(Decimal(plain) if NUMBER.fullmatch(plain) else plain)
    return slots


def _pairs(turns: Sequence[Sequence[str]]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(sorted(pair)) for turn in turns for pair in combinations(turn[:64], 2))


def _f1(wanted: Counter[tuple[str, ...]], found: Counter[tuple[str, ...]]) -> float:
    total = wanted.total() + found.total()
    return 2 * (wanted & found).total() / total if total else 1.0
