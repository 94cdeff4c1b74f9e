"""When a server must start again: its engine answers nobody, or it takes too much memory.

An idle server asks itself for one token every `TRIAL_S`; a busy one is held to sampling some token
within `SILENT_S`, where its engine counts them. A trial never joins other requests: they would be
computed in another batch than without it. Two misses in a row, or memory above its bound, and the
server retires: it takes no more, finishes what it can within `GRACE_S`, and starts again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from munro.rollout.fleet.types import Standing

TRIAL_S = 10.0
"""An idle server whose last answer is older asks itself."""
ANSWER_S = 30.0
"""It must have its token within so long."""
SILENT_S = 60.0
"""A busy engine that has sampled nothing for so long has missed once."""
MOST_MISSES = 2
GRACE_S = 60.0
"""What is under way has so long, where it is the memory."""
LEAKED = 0.5
"""Share of the room for keys and values that must not be taken while nothing runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is seen of a server at one moment."""

    standing: Standing
    running: int
    """Requests."""
    generated: int | None = None
    """Tokens that its engine has sampled in all; None where it does not count them."""
    kv_use: float | None = None
    """See `munro.rollout.engine.Load`."""
    resident_gb: float = 0.0
    """Of all its processes; 0 where that is not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """What has been seen of a server; a value, and the next one after every look.

    Example:
        dog = Watchdog(most_gb=40).after(sight, now=12.0)
        dog.verdict                             # "" while it is well
    """

    most_gb: float = 0.0
    """Bound on resident memory; 0 for none."""
    misses: int = 0
    """In a row."""
    moved: float = 0.0
    """When it last did something, or was last asked to."""
    generated: int | None = None
    """Tokens, as of the last look."""
    verdict: str = ""
    """Why it must start again."""

    def is_due(self, sight: Sight, now: float) -> bool:
        """Whether it is to ask itself now."""
        is_idle = sight.standing in (Standing.WHOLE, Standing.UNWELL) and sight.running == 0
        return is_idle and not self.verdict and now - self.moved >= TRIAL_S

    def after(self, sight: Sight, now: float) -> Watchdog:
        """After a look at it."""
        if self.most_gb and sight.resident_gb > self.most_gb:
            taken = f"it takes {sight.resident_gb:.1f} GB"
            return replace(self, verdict=f"{taken}, and rollout.max_server_gb = {self.most_gb:g}")
        serves = sight.standing in (Standing.WHOLE, Standing.UNWELL)
        has_moved = sight.generated != self.generated or sight.generated is None
        if not serves or (sight.running and has_moved):
            return replace(self, generated=sight.generated, moved=now, misses=0)
        if sight.running and now - self.moved >= SILENT_S:
            return self.missed(f"no token for {SILENT_S:.0f} s", now)
        return self

    def tried(self, sight: Sight, failure: str, now: float) -> Watchdog:
        """After it asked itself; with the failure, where no token came of it."""
        if failure:
            return self.missed(failure, now)
        if sight.running == 0 and (sight.kv_use or 0.0) > LEAKED:
            return self.missed(f"{sight.kv_use:.0%} of its room for keys and values is held", now)
        return replace(self, misses=0, moved=now, generated=sight.generated)

    def missed(self, why: str, now: float) -> Watchdog:
        """Once more it did not do what it should."""
        misses = self.misses + 1
        verdict = f"{misses} misses in a row, the last: {why}" if misses >= MOST_MISSES else ""
        return replace(self, misses=misses, moved=now, verdict=self.verdict or verdict)
