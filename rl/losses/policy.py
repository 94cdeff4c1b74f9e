"""The report's: the clipped surrogate of each token, with a bound in every branch (the default)."""

from __future__ import annotations

from munro.rl.loss import policy_loss as policy

__all__ = ["policy"]
