"""The report's: what an attempt earned above its group's mean, in standard deviations (default)."""

from __future__ import annotations

from munro.rl.advantage import group_relative

__all__ = ["group_relative"]
