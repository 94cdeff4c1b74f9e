"""Which inference servers there are, which may be asked, and what becomes of those that fail.

Plain values and what follows on what; processes and messages are in `munro.rollout.cluster`.
"""

from __future__ import annotations

from munro.rollout.fleet.errors import TooFewServers

__all__ = ["TooFewServers"]
