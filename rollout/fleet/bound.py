"""How many requests a server should have at once, by what its engine says of its room.

A preempted request gives its keys and values up and computes them anew: the server was given too
much. So its bound is halved when it preempts, and raised by one a second while there is room.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from munro.rollout.engine import Load

ROOMY = 0.9
"""Share of keys and values taken, below which more may come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Additive increase, halving on preemption; a value, and the next one after each beat.

    Example:
        Bound().after(64, Load(preempted=0)).after(64, Load(preempted=3)).most    # 32.0
    """

    most: float | None = None
    """None before anything was preempted: its own batch is all that limits it."""
    preempted: int | None = None
    """As of the last beat; None before the first."""

    def after(self, running: int, load: Load | None) -> Bound:
        """Once a server has said how it is."""
        if load is None or load.preempted is None:
            return self
        before = load.preempted if self.preempted is None else self.preempted
        after = replace(self, preempted=load.preempted)
        if load.preempted > before:
            at = running if self.most is None else min(running, self.most)
            return replace(after, most=max(at / 2, 1.0))
        is_used = self.most is not None and running + 1 >= self.most
        if self.most is not None and is_used and (load.kv_use or 0.0) < ROOMY:
            return replace(after, most=self.most + 1)
        return after
