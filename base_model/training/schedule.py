"""Learning rates as pure functions of the step: resuming needs no state.

Each returns a multiplier of the peak rate for optimizer step `step`, counted from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from munro.base_model.config import ScheduleConfig

Schedule = Callable[[int], float]


def constant(step: int, *, warmup: int) -> float:
    """Rise linearly over `warmup` steps, reaching 1 at the last of them; then stay."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def cosine(step: int, *, warmup: int, num_steps: int, final: float) -> float:
    """Rise linearly, then half a cosine from 1 down to `final` at `num_steps`; then stay."""
    if step < warmup:
        return (step + 1) / warmup
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * _progress(step, warmup, num_steps)))


def linear(step: int, *, warmup: int, num_steps: int, final: float) -> float:
    """Rise linearly, then a straight line from 1 down to `final` at `num_steps`; then stay."""
    if step < warmup:
        return (step + 1) / warmup
    return 1 - (1 - final) * _progress(step, warmup, num_steps)


def schedule(config: ScheduleConfig, num_steps: int) -> Schedule:
    """The schedule that `config` names, over a run of `num_steps`."""
    warmup, final = config.warmup_steps, config.final
    match config.shape:
        case "constant":
            return lambda step: constant(step, warmup=warmup)
        case "linear":
            return lambda step: linear(step, warmup=warmup, num_steps=num_steps, final=final)
        case "cosine":
            return lambda step: cosine(step, warmup=warmup, num_steps=num_steps, final=final)


def _progress(step: int, warmup: int, num_steps: int) -> float:
    """Share of the way from the end of the warm-up to the end of the run, in [0, 1]."""
    return min(1.0, (step - warmup) / max(1, num_steps - warmup))
