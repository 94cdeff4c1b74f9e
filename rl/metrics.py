"""How a step's sums over tokens, micro-batches and ranks become the figures that are logged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from munro.rl.batch import Batch, StepReport

ADDED = ("learner/loss", "learner/tokens", "learner/computed_tokens")
"""Sums that are logged as they are; all others are averaged over the sampled tokens."""


def merged(sums: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """Both together: names that end in "/max" by their larger value, all others added."""
    if not sums:
        return dict(more)
    return {
        name: max(sums[name], value) if name.endswith("/max") else sums[name] + value
        for name, value in more.items()
    }


def report(
    sums: Mapping[str, float],
    batch: Batch,
    *,
    grad_norm: float,
    estimator: Literal["plain", "clipped"],
) -> StepReport:
    """A step's report from its sums over the whole global batch.

    Args:
        sums: of `munro.rl.loss.policy_loss`, with "learner/loss" (shares that add up to the
            loss) and "learner/computed_tokens".
        batch: what was trained on.
        grad_norm: global gradient norm before clipping.
        estimator: which of the two entropies steers the clip (`ClipConfig.entropy_estimator`).
    """
    num_tokens = sums["learner/tokens"]
    metrics = {
        name: value if name in ADDED or name.endswith("/max") else value / num_tokens
        for name, value in sums.items()
    }
    metrics |= {"learner/grad_norm": grad_norm} | batch.counts
    name = "policy/entropy" if estimator == "plain" else "policy/entropy_clipped"
    return StepReport(metrics=metrics, entropy=metrics[name])


def idle(batch: Batch) -> StepReport:
    """The report of a batch without signal: no optimizer step was taken, no entropy is known."""
    return StepReport(metrics={"learner/tokens": 0.0} | batch.counts, entropy=math.nan)
