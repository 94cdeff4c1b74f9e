"""Something is to be done that none of the tools can do."""

from __future__ import annotations

from munro.envs.worlds.making.scene import Draft, Scene


def draft(scene: Scene) -> Draft:
    """A wish, without any tool that changes the same rows."""
    name = scene.writing()
    given, _ = scene.call(name)
    ask = scene.style.wish([scene.act(scene.plan(), name, given)], scene.rng)
    changed = scene.changed(name)
    without = frozenset(
        each
        for each, tool in scene.world.tools.items()
        if tool.writes and scene.changed(each) & changed
    )
    return Draft(ask=ask, plan=scene.plan(), answer="no tool", without=without)
