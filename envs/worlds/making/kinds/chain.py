"""What is asked or to be done needs one look-up after another."""

from __future__ import annotations

from munro.envs.worlds.errors import NoWay
from munro.envs.worlds.making.kinds import read, write
from munro.envs.worlds.making.scene import Draft, Scene

TRIES = 12


def draft(scene: Scene) -> Draft:
    """A question or a wish of at least three turns of calls, two where the world is small."""
    least = 2 if scene.is_terse else 3
    for _ in range(TRIES):
        kind = scene.rng.choice((read.draft, write.draft))
        try:
            found = kind(scene)
        except NoWay:
            continue
        if len(found.plan.turns()) >= least:
            return found
    raise NoWay
