"""Architectures beside transformers' own, found by entry point so that nothing here names one.

A distribution that brings one lists a module under the group `munro.architectures`; importing it
must register the model with transformers' `Auto` classes. Our own base model comes in this way.
Here because a reward may be a model too, and rewards import no other room.
"""

from __future__ import annotations

from importlib.metadata import entry_points

GROUP = "munro.architectures"


def register_architectures() -> None:
    """Import every listed module; those imported before cost nothing."""
    for point in entry_points(group=GROUP):
        point.load()
