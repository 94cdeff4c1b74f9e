"""How far one update may move a token's probability, and how that adapts to entropy.

MAI-Thinking-1 report, section 3.1.1 (Eqs. 7 to 9).
"""

from __future__ import annotations

from dataclasses import dataclass, replace


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

    @property
    def low(self) -> float:
        """Smallest trusted ratio."""
        return 1 - self.eps

    @property
    def high(self) -> float:
        """Largest trusted ratio."""
        return 1 / (1 - self.eps) + self.widening

    def adapted(self, entropy: float, target: float, step: float, most: float) -> Clip:
        """Widen by `step` while entropy is under `target`, narrow while over, within [0, most]."""
        direction = (entropy < target) - (entropy > target)
        return replace(self, widening=min(max(self.widening + step * direction, 0.0), most))
