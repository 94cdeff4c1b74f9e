"""A longer cap once too many responses hit the present one (the default)."""

from __future__ import annotations

from munro.rl.curriculum import next_stage as stages

__all__ = ["stages"]
