"""A question that needs no tool, among tools."""

from __future__ import annotations

from munro.envs.worlds.making.questions import question
from munro.envs.worlds.making.scene import Draft, Scene


def draft(scene: Scene) -> Draft:
    """Answer it; any call fails."""
    ask, answer = question(scene.rng, scene.own_questions)
    return Draft(ask=ask, plan=scene.plan(), answer=answer)
