"""Several things are asked or to be done that do not depend on each other."""

from __future__ import annotations

from munro.envs.worlds.errors import NoWay
from munro.envs.worlds.making.scene import Draft, Scene

FEWEST, MOST = 2, 4
WRITES = 0.4


def draft(scene: Scene) -> Draft:
    """The same field of several rows, or the same tool with other arguments."""
    wants = scene.rng.randint(FEWEST, MOST)
    found = _acts(scene, min(wants, 3)) if scene.rng.random() < WRITES else _questions(scene, wants)
    if all(len(turn) == 1 for turn in found.plan.turns()):
        raise NoWay
    return found


def _questions(scene: Scene, wants: int) -> Draft:
    plan = scene.plan()
    table, name = scene.field()
    label = scene.world.tables[table].fields[name].label
    keys = list(dict.fromkeys(scene.key(table) for _ in range(wants)))
    if len(keys) < FEWEST:
        raise NoWay
    things, answers = [], []
    for key in keys:
        things.append(scene.style.of(label, plan.refer(table, key)))
        plan.learn(table, key, name)
        row = scene.state.row(table, key)
        assert row is not None
        answers.append(str(row[name]))
    ask = scene.style.question(things, scene.rng)
    if any(scene.says(ask, answer) for answer in answers):
        raise NoWay
    return Draft(ask=ask, plan=plan, answer="; ".join(answers))


def _acts(scene: Scene, wants: int) -> Draft:
    plan = scene.plan()
    name = scene.writing()
    rows = [each for each, one in scene.world.tools[name].parameters.items() if one.row]
    calls = [scene.call(name)[0] for _ in range(wants)]
    for each in rows:
        # calls on one row may depend on each other
        if len({call[each] for call in calls}) < len(calls):
            raise NoWay
    acts = [scene.act(plan, name, call) for call in calls]
    for call in calls:
        plan.write(name, call)
    return Draft(ask=scene.style.wish(acts, scene.rng), plan=plan, answer="done")
