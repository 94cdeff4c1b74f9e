"""Something is to be done that a rule forbids, though the tool would do it."""

from __future__ import annotations

from munro.envs.worlds.errors import NoWay
from munro.envs.worlds.making.scene import Draft, Scene


def draft(scene: Scene) -> Draft:
    """Find out what the rule depends on; then refuse, and name the rule."""
    rules = scene.world.rules
    if not rules:
        raise NoWay
    name = scene.rng.choice(rules).tool
    if not scene.world.tools[name].say:
        raise NoWay
    plan = scene.plan()
    given, rule = scene.call(name, broken=True)
    ask = scene.style.wish([scene.act(plan, name, given)], scene.rng)
    plan.check_rules(name, given)
    return Draft(ask=ask, plan=plan, answer=f"refused {rule}", likely=frozenset({name}))
