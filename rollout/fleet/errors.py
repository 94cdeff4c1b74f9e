"""What a fleet of inference servers can come to that a climb cannot go on with."""

from __future__ import annotations

from munro.rollout.waits import Stalled


class TooFewServers(Stalled):
    """Fewer inference servers than a climb needs, for longer than it waits: start them all anew.

    Example:
        TooFewServers("driver", "2 inference servers (sync.min_servers), and 1 serves", 300.0)
    """

    def __reduce__(self) -> tuple[type[TooFewServers], tuple[str, str, float]]:
        return TooFewServers, (self.who, self.what, self.seconds)
