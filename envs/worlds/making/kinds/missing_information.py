"""The request leaves out what a tool needs, and no tool tells it."""

from __future__ import annotations

from munro.envs.worlds.making.scene import Draft, Scene


def draft(scene: Scene) -> Draft:
    """Call nothing, and say which parameter is missing."""
    name = scene.writing()
    without = scene.left_out(name)
    given, _ = scene.call(name)
    ask = scene.style.wish([scene.act(scene.plan(), name, given, without=without)], scene.rng)
    return Draft(ask=ask, plan=scene.plan(), answer=f"missing {without}", likely=frozenset({name}))
