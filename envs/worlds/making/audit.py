"""Whether a world holds together: every tool can do something, every rule says something.

Its words are checked when a domain is read; what only shows when it runs is found out here.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from munro.envs.worlds.compose import World
from munro.envs.worlds.errors import BadWorld, NoWay
from munro.envs.worlds.making.phrases import Polite
from munro.envs.worlds.making.scene import Scene
from munro.envs.worlds.run import perform
from munro.envs.worlds.state import State

ROUNDS = 10
"""Times that arguments are drawn anew (each of many draws) before a tool counts as useless."""


def audit(world: World, bases: Sequence[State]) -> None:
    """Try every tool and every rule.

    Args:
        world: to try.
        bases: rows of it, drawn several times: what is rare is in some of them.

    Raises:
        BadWorld: one of them can never do anything.
    """
    scenes = [
        Scene(world=world, state=base, rng=random.Random(0), style=Polite()) for base in bases
    ]
    for name, tool in world.tools.items():
        if tool.find:
            _audit_look_up(world, bases[0], name)
        elif not any(_finds(scene, name) for scene in scenes):
            raise BadWorld(
                f"tools.{name}: of many calls none did anything that no rule forbids: its "
                "conditions or the rules contradict the rows"
            )
    for rule in world.rules:
        if not any(_finds(scene, rule.tool, rule.id) for scene in scenes):
            raise BadWorld(
                f"rule {rule.id} contradicts its tool: of many calls of {rule.tool} none was one "
                "that the tool would carry out and this rule alone forbids"
            )


def _audit_look_up(world: World, base: State, name: str) -> None:
    tool = world.tools[name]
    for row in base.find(tool.find, {}, most=-1):
        if not perform(world, base, name, {each: row[each] for each in tool.by}).error:
            return
    raise BadWorld(f"tools.{name} finds none of the rows of {tool.find}")


def _finds(scene: Scene, name: str, rule: str = "") -> bool:
    """Whether there is a call that this rule alone forbids, or without one that none does."""
    for _ in range(ROUNDS):
        try:
            _, broken = scene.call(name, broken=bool(rule))
        except NoWay:
            continue
        if broken == rule:
            return True
    return False
