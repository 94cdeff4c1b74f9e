"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the screen.

    Example:
        Finding(name="Triton", found="not installed", level="missing", cost="...")
    """

    name: str
    found: str
    level: Literal["ok", "missing", "broken"] = "ok"
    """Missing costs something; broken stops a climb."""
    cost: str = ""
    """What it costs that it is so, and the way out."""


def gib(size_bytes: float) -> str:
    """A size as a person says it."""
    return f"{size_bytes / GIB:.1f} GiB"
