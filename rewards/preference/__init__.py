"""Preference models: a reward that was learned from comparisons."""

from __future__ import annotations

from munro.rewards.preference.model import PreferenceModel

__all__ = [
    "PreferenceModel",
]
