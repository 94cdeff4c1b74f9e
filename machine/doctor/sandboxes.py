"""Whether programs that a model wrote can be run here: each back end is opened."""

from __future__ import annotations

from collections.abc import Iterator

from munro.machine.doctor.types import Finding
from munro.rewards import sandbox
from munro.rewards.errors import SandboxError


def check() -> Iterator[Finding]:
    """One finding a back end; why one will not open is its own word."""
    for name in sandbox.BACKENDS:
        try:
            with sandbox.open(name):
                yield Finding(name="sandbox", found=f"{name}: opens")
        except SandboxError as error:
            yield Finding(
                name="sandbox",
                found=f"{name}: does not open",
                level="missing",
                cost=f"no program is graded in it: {error}",
            )
