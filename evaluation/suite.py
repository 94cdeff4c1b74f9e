"""From a suite to attempts: what is missing is asked of a source, and kept as it comes.

entry ──► wanted (task, run, seed) ──► Source.attempts ──► Results.add
                ▲                                             │
                └────────────── Results.missing ◄─────────────┘
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from munro.evaluation.types import AttemptRow


class Source(Protocol):
    """Who makes attempts: a fleet, an address, or a harness behind one."""

    def attempts(self, entry: Any, wanted: Sequence[tuple[str, int, int]]) -> Iterable[AttemptRow]:
        """One row for each wanted (task, run, seed), in any order, as soon as it is there.

        What could not be scored is a row with `failed`; one that never comes is asked for again
        the next time.
        """
        ...


def seed_of(seed: int, run: int) -> int:
    """The seed of one run of a suite, in [0, 2**31): runs differ, and a rerun draws the same."""
    digest = hashlib.blake2b(f"{seed},{run}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
