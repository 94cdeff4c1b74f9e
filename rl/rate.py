"""The learning rate of each step, where it moves at all."""

from __future__ import annotations

from munro.base_model.training.schedule import Schedule, schedule
from munro.rl.config import LearnerConfig


def rate_of(config: LearnerConfig) -> Schedule | None:
    """The share of the peak that each optimizer step takes, from 0; None where all take it whole.

    Raises:
        ValueError: it falls, and nobody said in how many steps.
    """
    how = config.schedule
    if how.shape == "constant" and not how.warmup_steps:
        return None
    if how.shape != "constant" and not how.num_steps:
        raise ValueError(
            f"learner.schedule.shape = {how.shape!r} falls to its final rate in "
            "learner.schedule.num_steps, which is 0: a climb puts its own num_steps there."
        )
    return schedule(how, how.num_steps)
