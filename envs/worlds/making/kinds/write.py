"""Something is to be done, and no rule forbids it."""

from __future__ import annotations

from munro.envs.worlds.making.scene import Draft, Scene


def draft(scene: Scene) -> Draft:
    """One call that changes something."""
    plan = scene.plan()
    name = scene.writing()
    given, _ = scene.call(name)
    ask = scene.style.wish([scene.act(plan, name, given)], scene.rng)
    plan.write(name, given)
    return Draft(ask=ask, plan=plan, answer="done")
