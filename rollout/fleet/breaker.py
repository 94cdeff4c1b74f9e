"""When a server that failed is asked again: first once, then for a little, then for all.

closed ──(failures in a row, or a grave one)──► open ──(a probe finds it well)──► half-open
   ▲                                             ▲  one request                        │
   └────(TRIAL_ANSWERS answers)──── trial ◄──────┼──(it is answered)───────────────────┘
                                      └──────────┘  whatever fails opens it again
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

TRIAL_ANSWERS = 10
"""Answers in a row after which a server on trial has the others' trust again."""
TRIAL_SHARE = 0.1
"""Of all requests under way, what one on trial may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a router bears with whom."""

    deadline_s: float
    """Longest wait for one completion from one server."""
    patience_s: float
    """Longest wait for any server to be usable, over all tries of a request."""
    max_failures: int = 3
    """Failures in a row that open a server's circuit breaker."""
    backoff_s: float = 0.5
    """Before the first probe of an opened server; doubles with every vain one."""
    backoff_max_s: float = 15.0


class Stage(StrEnum):
    """How far a server is trusted."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    TRIAL = "trial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Trust in one server; a value, and the next one after whatever happened.

    Example:
        breaker = Breaker().failed(patience, now=0.0, is_grave=True)    # open
        breaker.well().answered().stage                                 # trial
    """

    stage: Stage = Stage.CLOSED
    failures: int = 0
    """In a row."""
    answers: int = 0
    """On trial."""
    probe_at: float = 0.0
    """Time before which an open one is not probed."""

    @property
    def is_open(self) -> bool:
        """Nothing may be asked of it."""
        return self.stage is Stage.OPEN

    def room(self, running: int, whole: int, *, alone: bool) -> bool:
        """Whether it may have another request.

        Args:
            running: requests that it has.
            whole: that all servers have.
            alone: no other server is trusted, so that all wait for this one.
        """
        if self.stage is Stage.HALF_OPEN:
            return running == 0
        if self.stage is Stage.TRIAL and not alone:
            return running < max(TRIAL_SHARE * whole, 1)
        return not self.is_open

    def failed(self, patience: Patience, *, now: float, is_grave: bool) -> Breaker:
        """A request or a probe failed; grave is what one failure suffices for."""
        failures = self.failures + 1
        is_doubted = self.stage is not Stage.CLOSED
        if not (is_grave or is_doubted or failures >= patience.max_failures):
            return replace(self, failures=failures)
        over = max(failures - patience.max_failures, 0)
        pause = min(patience.backoff_s * 2.0**over, patience.backoff_max_s)
        return replace(self, stage=Stage.OPEN, failures=failures, answers=0, probe_at=now + pause)

    def well(self) -> Breaker:
        """A probe found it well: one request will show."""
        return replace(self, stage=Stage.HALF_OPEN) if self.is_open else self

    def answered(self) -> Breaker:
        """It answered a request."""
        if self.is_open:
            return self  # of the time before it was opened
        answers = self.answers + 1 if self.stage is Stage.TRIAL else 0
        is_trusted = self.stage is Stage.CLOSED or answers >= TRIAL_ANSWERS
        stage = Stage.CLOSED if is_trusted else Stage.TRIAL
        return Breaker(stage=stage, answers=0 if is_trusted else answers)
