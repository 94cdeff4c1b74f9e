"""What must be true of a task before anybody trains on it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

from munro.envs.worlds.compose import World
from munro.envs.worlds.grade import Difference, goal, grade
from munro.envs.worlds.making.damage import Damage, dropped, wrong
from munro.envs.worlds.play import play
from munro.envs.worlds.state import State
from munro.envs.worlds.task import Call, WorldTask, flat
from munro.rewards.types import Grade

NOOP = "done"
"""The reply of a policy that does nothing."""
MOST_WRONG = 4
"""Wrong attempts of one sort that are tried."""


def attempt(
    world: World,
    base: State,
    task: WorldTask,
    turns: Sequence[Sequence[Call]],
    reply: str,
    wanted: Difference | None = None,
) -> Grade:
    """The grade of these calls and this reply."""
    after, log, _ = play(world, base, task.ask, task.tools, turns)
    try:
        return grade(world, base, task, after, log, reply, wanted=wanted)
    finally:
        after.close()


def refuted(world: World, base: State, task: WorldTask) -> str:
    """Why a task is none; empty where it is proven.

    Gold passes. Doing nothing does not, nor does any beginning of gold, even with the right answer;
    nor gold without one of its calls, or with another row in place of one. What else is right
    passes: the calls of a turn the other way round, a look-up more. And the request, or an answer
    before, names everything that gold says.

    Args:
        world: of the task.
        base: its rows.
        task: to prove.
    """
    answer = f"Answer: {task.answer}"
    wanted = goal(world, base, task)
    gold = attempt(world, base, task, task.gold, answer, wanted)
    if not gold.solved:
        return f"gold fails: {gold.reason}"
    after, log, texts = play(world, base, task.ask, task.tools, task.gold)
    after.close()
    if not all(one.ok for one in log.made):
        return "a call of gold fails"
    if word := _unsaid(task, texts):
        return f"nobody says {word!r}, which gold needs"
    if attempt(world, base, task, (), NOOP, wanted).solved:
        return "doing nothing passes"
    for what, turns in _not_enough(world, base, task):
        if attempt(world, base, task, turns, answer, wanted).solved:
            return f"{what} passes"
    for what, turns in _as_good(world, base, task):
        if not attempt(world, base, task, turns, answer, wanted).solved:
            return f"{what} fails"
    if task.kind == "no_tool":
        for name in task.tools[:1]:
            if attempt(world, base, task, [[Call(name, {})]], answer, wanted).solved:
                return "a call passes"
    return ""


def _not_enough(
    world: World, base: State, task: WorldTask
) -> Iterator[tuple[str, Sequence[Sequence[Call]]]]:
    calls = flat(task.gold)
    for number in range(len(calls)):
        yield f"a beginning of gold ({number} of {len(calls)} calls)", [calls[:number]]
    for damage in dropped(task):
        yield "gold without a call", damage.turns
    rng = random.Random(task.ask)
    tried: list[Damage] = [*wrong(world, base, task, rng)]
    for damage in tried if len(tried) <= MOST_WRONG else rng.sample(tried, MOST_WRONG):
        yield "gold with another row", damage.turns


def _as_good(
    world: World, base: State, task: WorldTask
) -> Iterator[tuple[str, Sequence[Sequence[Call]]]]:
    if task.kind == "no_tool":
        return
    if any(len(turn) > 1 for turn in task.gold):
        yield "gold the other way round", [turn[::-1] for turn in task.gold]
    for name in task.tools:
        tool = world.tools[name]
        if tool.find:
            row = next(iter(base.find(tool.find, {}, most=1)), None)
            if row is not None:
                look = Call(name, {each: row[each] for each in tool.by})
                yield "a look-up more", ((look,), *task.gold)
            return


def _unsaid(task: WorldTask, texts: Sequence[str]) -> str:
    """A text or number of gold's calls that stands neither in the request nor in an earlier
    answer; empty where there is none."""
    told = task.ask
    place = 0
    for turn in task.gold:
        for call in turn:
            for value in call.arguments.values():
                word = str(value)
                pattern = rf"(?<!\w){re.escape(word)}(?!\w)"
                if not isinstance(value, bool) and not re.search(pattern, told, re.I):
                    return word
        for _ in turn:
            told += "\n" + texts[place]
            place += 1
    return ""
