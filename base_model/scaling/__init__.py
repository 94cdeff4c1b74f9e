"""Scaling laws, ladders of small models, and how much cost an idea saves."""

from __future__ import annotations

from munro.base_model.scaling.law import efficiency_gain, fit

__all__ = ["efficiency_gain", "fit"]
