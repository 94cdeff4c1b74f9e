"""The kinds of tasks, one file each: a function that draws one in a scene, or finds no way to."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from munro.envs.worlds.making.scene import Draft, Scene
from munro.rewards.plugins import Registry

Kind = Callable[[Scene], Draft]
"""Raises NoWay where this draw makes no task."""

KINDS = Registry(
    what="kind of task",
    group="munro.world_kinds",
    home="munro.envs.worlds.making.kinds",
    fits=inspect.isfunction,
)
