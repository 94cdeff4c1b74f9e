"""Where a step's wall-clock went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Clock:
    """Times the named phases of one step.

    Example:
        clock = Clock()
        with clock("train"):
            ...
        clock.metrics({})   # {"time/train": 0.31, "time/step": 0.35}
    """

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the time spent inside to `phase`."""
        began = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self._seconds[phase] = self._seconds.get(phase, 0.0) + spent

    def metrics(self, counts: Mapping[str, float]) -> dict[str, float]:
        """Seconds by phase and in all, and tokens per second from the step's token counts.

        The learner's tokens are counted over the time it trains, the sampled ones over the whole
        step: off-policy they come in while the learner learns.
        """
        found = {f"time/{phase}": seconds for phase, seconds in self._seconds.items()}
        found["time/step"] = time.monotonic() - self._start
        for name, tokens, phase in (
            ("learner", "learner/tokens", "time/train"),
            ("rollout", "rollout/tokens", "time/step"),
        ):
            if found.get(phase):
                found[f"speed/{name}_tokens_per_s"] = counts.get(tokens, 0.0) / found[phase]
        return found
