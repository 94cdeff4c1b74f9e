"""What is to be done depends on what the rows say."""

from __future__ import annotations

from munro.envs.worlds.errors import NoWay
from munro.envs.worlds.making.scene import Draft, Scene

OTHERWISE_NOTHING = 0.3


def draft(scene: Scene) -> Draft:
    """If a number is under a bound, one thing; otherwise another, or nothing."""
    plan = scene.plan()
    rng = scene.rng
    table, name = scene.field("int")
    key = scene.key(table)
    called = plan.refer(table, key)
    row = scene.state.row(table, key)
    assert row is not None
    number = row[name]
    field = scene.world.tables[table].fields[name]
    bound = rng.randint(field.low, field.high + 1)
    assert isinstance(number, int)
    if scene.says(called, str(number)):
        raise NoWay
    is_under = number < bound

    # the other call is asked for as well as the one that is right: both are looked up or neither
    tools = [scene.writing(), scene.writing()]
    calls = [scene.call(each)[0] for each in tools]
    if tools[0] == tools[1] and calls[0] == calls[1]:
        raise NoWay
    right = 0 if is_under else 1
    other = scene.plan()
    does_nothing = not is_under and rng.random() < OTHERWISE_NOTHING
    acts = ["", "leave everything as it is"]
    if not does_nothing:
        acts[right] = scene.act(plan, tools[right], calls[right])
    acts[1 - right] = scene.act(other, tools[1 - right], calls[1 - right])
    label = scene.style.of(field.label, called)
    ask = f"If {label} is under {bound}, {acts[0]}; otherwise {acts[1]}."
    plan.learn(table, key, name)
    if not does_nothing:
        plan.write(tools[right], calls[right])
    return Draft(ask=ask, plan=plan, answer="done", likely=frozenset(tools))
