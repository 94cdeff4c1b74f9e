"""One task of one world, drawn and proven: a pure function of the world and a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from munro.envs.worlds.compose import World
from munro.envs.worlds.errors import BadWorld, NoWay
from munro.envs.worlds.making.kinds import KINDS, Kind
from munro.envs.worlds.making.phrases import Polite, Style, Terse
from munro.envs.worlds.making.prove import refuted
from munro.envs.worlds.making.scene import Draft, Scene
from munro.envs.worlds.state import State
from munro.envs.worlds.task import WorldTask, flat

SHARES: Mapping[str, float] = {
    "read": 0.15,
    "write": 0.2,
    "chain": 0.15,
    "branch": 0.1,
    "parallel": 0.1,
    "policy": 0.1,
    "missing_information": 0.05,
    "missing_tool": 0.05,
    "no_tool": 0.1,
}
"""Of the kinds."""
TRIES = 400
"""Draws of one task."""
ONE_KIND = 100
"""Draws of one kind, before another one is drawn in its place."""
HELD_OUT = 10
"""One request in so many is kept for testing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu:
    """What tasks are drawn of."""

    shares: Mapping[str, float]
    """Kinds, and how often each comes."""
    num_tools: int = 0
    """Tools that the policy has; 0 for all of the world's."""
    is_terse: bool = False
    """Requests of as few words as possible, and no system message."""
    questions: tuple[str, ...] = ()
    """Kinds of questions that need no tool."""

    @property
    def style(self) -> Style:
        """How requests are put."""
        return Terse() if self.is_terse else Polite()

    def kinds(self) -> dict[str, Kind]:
        """The kinds by name.

        Raises:
            BadPlugin: there is none of a name.
        """
        return {name: _kind(name) for name in self.shares}


@lru_cache
def _kind(name: str) -> Kind:
    found: Kind = KINDS.find(name)
    return found


def is_held_out(ask: str) -> bool:
    """Whether a request is kept for testing, whatever rows it is about."""
    return sha256(ask.encode()).digest()[0] % HELD_OUT == 0


def draw(
    world: World,
    base: State,
    menu: Menu,
    *,
    seed: str,
    wanted: Callable[[WorldTask], bool] = lambda _: True,
    tries: int = TRIES,
) -> WorldTask:
    """A proven task.

    Args:
        world: that it is about.
        base: its rows.
        menu: what may be drawn.
        seed: of every draw.
        wanted: whether a task will do, before it is proven.
        tries: draws before these rows are given up.

    Raises:
        BadWorld: none was found.
        BadPlugin: there is no kind of a name.
    """
    rng = random.Random(f"task/{seed}")
    kinds = menu.kinds()
    kind = rng.choices([*menu.shares], [*menu.shares.values()])[0]
    why = "no way was found to ask for it"
    for number in range(tries):
        if number and number % ONE_KIND == 0:
            kind = rng.choices([*menu.shares], [*menu.shares.values()])[0]
        scene = Scene(
            world=world,
            state=base,
            rng=rng,
            style=menu.style,
            own_questions=menu.questions,
            is_terse=menu.is_terse,
        )
        try:
            task = _task(world, kind, kinds[kind](scene), menu, rng)
        except NoWay:
            continue
        if menu.is_terse and kind != "chain" and len(task.gold) > 1:
            continue
        if not wanted(task):
            continue
        why = refuted(world, base, task)
        if not why:
            return task
    raise BadWorld(f"of {tries} tasks drawn none is one (the last was of kind {kind!r}: {why})")


def _task(world: World, kind: str, draft: Draft, menu: Menu, rng: random.Random) -> WorldTask:
    gold = draft.plan.turns()
    needed = {call.tool for call in flat(gold)} | draft.likely
    if needed & draft.without:
        raise NoWay
    tools = _shown(world, needed, draft.without, menu.num_tools, rng)
    return WorldTask(
        kind=kind,
        ask=draft.ask,
        tools=tools,
        gold=gold,
        answer=draft.answer,
        evidence=tuple(sorted(draft.plan.uses)),
    )


def _shown(
    world: World, needed: set[str], without: frozenset[str], number: int, rng: random.Random
) -> tuple[str, ...]:
    """The tools that a policy has: what it needs, and others in whatever order."""
    others: Sequence[str] = sorted(world.tools.keys() - needed - without)
    if number:
        others = rng.sample(others, min(len(others), max(0, number - len(needed))))
    tools = [*sorted(needed), *others]
    rng.shuffle(tools)
    return tuple(tools)
