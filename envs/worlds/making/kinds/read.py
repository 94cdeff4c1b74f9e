"""Something is asked that the rows know."""

from __future__ import annotations

from munro.envs.worlds.errors import NoWay
from munro.envs.worlds.making.scene import Draft, Scene


def draft(scene: Scene) -> Draft:
    """One field of one row."""
    plan = scene.plan()
    table, name = scene.field()
    key = scene.key(table)
    called = plan.refer(table, key)
    plan.learn(table, key, name)
    row = scene.state.row(table, key)
    assert row is not None
    label = scene.world.tables[table].fields[name].label
    ask = scene.style.question([scene.style.of(label, called)], scene.rng)
    answer = str(row[name])
    if scene.says(ask, answer):
        raise NoWay
    return Draft(ask=ask, plan=plan, answer=answer)
