"""Where programs that a model wrote may run: no network, no host files, no secrets, limits.

    with munro.rewards.sandbox.open("namespaces", Limits(wall_s=2)) as box:
        outcome = box.run(["python3", "main.py"], files={"main.py": program}, stdin="17 25")

Back ends share one interface (`types.Sandbox`): `namespaces` needs no daemon, `docker` needs one.
What is asked for and cannot be had is a `SandboxError`, never a weaker sandbox.
"""

from __future__ import annotations

import importlib
from typing import Any

from munro.rewards.sandbox.freeze import Change
from munro.rewards.sandbox.image import Image, Layer, layer_of
from munro.rewards.sandbox.tree import Kind
from munro.rewards.sandbox.types import Found, Limit, Limits, Outcome, Sandbox, Session, Usage

__all__ = [
    "Change",
    "Found",
    "Image",
    "Kind",
    "Layer",
    "Limit",
    "Limits",
    "Outcome",
    "Sandbox",
    "Session",
    "Usage",
    "layer_of",
    "open",
]

BACKENDS = {
    "namespaces": "munro.rewards.sandbox.namespaces",
    "docker": "munro.rewards.sandbox.docker",
}
"""Module of each; it has a function `open_sandbox(limits, **options) -> Sandbox`."""


def open(backend: str = "namespaces", limits: Limits | None = None, **options: Any) -> Sandbox:
    """A sandbox that is ready to run, or an error that says what is missing.

    Args:
        backend: "namespaces" or "docker".
        limits: of each run that names none.
        options: of that back end.

    Raises:
        ValueError: no back end has that name.
        SandboxError: it cannot be had on this machine; says what would mend it.
    """
    if backend not in BACKENDS:
        known = " or ".join(map(repr, BACKENDS))
        raise ValueError(f"munro.rewards.sandbox has no back end {backend!r}: write {known}")
    module = importlib.import_module(BACKENDS[backend])
    box: Sandbox = module.open_sandbox(limits or Limits(), **options)
    return box
