"""How far one update may move a token's probability, and how that adapts to entropy.

MAI-Thinking-1 report, section 3.1.1 (Eqs. 7 to 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

IDLE_STEPS = 10
"""Steps without a ratio at a bound after which the controller is called idle."""
IDLE = (
    f"the entropy controller is idle: in {IDLE_STEPS} steps no ratio reached the clip, so its k "
    "does nothing. It works where the policy moves between two weight updates: raise "
    "sync.every_steps, or lower clip.eps"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Bounds on the ratio of new to behaviour probability. A value: `adapted` returns the next one.

    Example:
        Clip(eps=0.6, widening=0.0, outer=50.0)   # ratio trusted in [0.4, 2.5]
    """

    eps: float = 0.6
    widening: float = 0.0
    """k: extra room above; 0 makes the bounds symmetric in log-ratio."""
    outer: float = 50.0
    """r_max: bound in every branch of the objective."""
    eps_high: float = 0.0
    """Above 0, the upper bound before k is 1 + eps_high, whatever eps is (DAPO's)."""

    @property
    def low(self) -> float:
        """Smallest trusted ratio."""
        return 1 - self.eps

    @property
    def high(self) -> float:
        """Largest trusted ratio."""
        bound = 1 + self.eps_high if self.eps_high else 1 / (1 - self.eps)
        return bound + self.widening

    def adapted(self, entropy: float, target: float, step: float, most: float) -> Clip:
        """Widen by `step` while entropy is under `target`, narrow while over, within [0, most]."""
        direction = (entropy < target) - (entropy > target)
        return replace(self, widening=min(max(self.widening + step * direction, 0.0), most))


def is_idle(at_bounds: Sequence[float]) -> bool:
    """Whether k has nothing to act on: no ratio reached the trust region's bounds of late.

    Args:
        at_bounds: "clip/low" plus "clip/high" of each step, newest last.
    """
    return len(at_bounds) >= IDLE_STEPS and not any(at_bounds[-IDLE_STEPS:])
