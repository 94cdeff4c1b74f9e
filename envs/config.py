"""What a person may choose about environments."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from rewards.config import Config


class EnvConfig(Config):
    """One environment of a problem set."""

    path: str
    """Registry name, `module:Class`, or `path/to/file.py:Class`."""
    weight: float = Field(1.0, gt=0)
    """Share of the problem set, relative to the other environments."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the environment's constructor."""
