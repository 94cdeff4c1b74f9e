"""From a suite to attempts: what is missing is asked of a source, and kept as it comes.

Asked ──► wanted (task, run, seed) ──► Source.attempts ──► Results.add
                ▲                                             │
                └────────────── Results.missing ◄─────────────┘
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from munro.evaluation.results import Results
from munro.evaluation.types import AttemptRow

KEPT_EVERY_S = 20.0
"""What is lost of a killed evaluation, at most, beside what its source has not told yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One entry of a suite, resolved: which tasks, how often, and everything that decides more.

    Example:
        Asked(name="sums", tasks=("arithmetic/17+25",), settings={"sampling": {"top_p": 1.0}})
    """

    name: str
    tasks: tuple[str, ...]
    runs: int = 4
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Plain data for suite.toml; `munro.evaluation.results.COMPARED` names what two results must
    have alike."""

    @property
    def written(self) -> dict[str, Any]:
        """As suite.toml has it."""
        told = {"tasks": len(self.tasks), "runs": self.runs, "seed": self.seed}
        return {**told, "drawn": self.fingerprint, **self.settings}

    @property
    def fingerprint(self) -> str:
        """Of the names of the tasks, so that a data set which changed is noticed."""
        names = "\0".join(self.tasks).encode(errors="backslashreplace")
        return hashlib.blake2b(names, digest_size=8).hexdigest()


class Source(Protocol):
    """Who makes attempts: a fleet, an address, or a harness behind one."""

    def attempts(self, entry: str, wanted: Sequence[tuple[str, int, int]]) -> Iterable[AttemptRow]:
        """One row for each wanted (task, run, seed), in any order, as soon as it is there.

        What could not be scored is a row with `failed`; one that never comes is asked for again
        the next time.
        """
        ...


def seed_of(seed: int, run: int) -> int:
    """The seed of one run of a suite, in [0, 2**31): runs differ, and a rerun draws the same."""
    digest = hashlib.blake2b(f"{seed},{run}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


def wanted(results: Results, entry: Asked) -> list[tuple[str, int, int]]:
    """What has no scored attempt yet: (task, run, seed)."""
    missing = results.missing(entry.name, entry.tasks, entry.runs)
    return [(task, run, seed_of(entry.seed, run)) for task, run in missing]


def make(
    results: Results,
    entry: Asked,
    source: Source,
    on_kept: Callable[[int, int], None] | None = None,
) -> None:
    """Make and keep the attempts of an entry that are missing.

    What the source has told is kept even where it fails, or is interrupted, after that.

    Args:
        results: where.
        entry: that was asked.
        source: who makes them.
        on_kept: told how many of the missing ones are kept, each time some are.

    Raises:
        BadResults: what comes cannot be kept.
    """
    missing = wanted(results, entry)
    fresh: list[AttemptRow] = []
    done, since = 0, time.monotonic()
    try:
        for row in source.attempts(entry.name, missing):
            fresh.append(row)
            if time.monotonic() - since >= KEPT_EVERY_S:
                done += _keep(results, fresh)
                if on_kept:
                    on_kept(done, len(missing))
                since = time.monotonic()
    finally:
        done += _keep(results, fresh)
    if on_kept:
        on_kept(done, len(missing))


def _keep(results: Results, fresh: list[AttemptRow]) -> int:
    number = len(fresh)
    results.add(fresh)
    fresh.clear()
    return number
