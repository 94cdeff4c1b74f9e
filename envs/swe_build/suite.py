"""Runs a proposal's tests, each time in a fresh box over the same image."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from munro.envs.swe.run import Ran, run_tests
from munro.envs.swe_build.proposal import Contents
from munro.rewards.sandbox import Image, Limits, Sandbox, Session

LIMITS = Limits(wall_s=60, cpu_s=60, memory_mb=2048, processes=128, disk_mb=512, inodes=65_536)
"""Of a box; a run of tests has its own seconds."""
SHUFFLED = 1
"""The round whose tests run in another order."""


@dataclass(slots=True)
class Clock:
    """Seconds that boxes spent in tests, over all threads, and how many runs they were."""

    seconds: float = 0.0
    runs: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, seconds: float) -> None:
        """Count one run."""
        with self._lock:
            self.seconds += seconds
            self.runs += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The tests of one base, callable as `validate.Run`. Safe for threads."""

    box: Sandbox
    image: Image
    imports: tuple[str, ...]
    test_s: float
    wall_s: float
    clock: Clock = field(default_factory=Clock)

    def __call__(
        self,
        changes: Contents,
        paths: Sequence[str],
        number: int,
        only: Collection[str] = (),
        until_failure: bool = False,
    ) -> Ran:
        """Run test files on the base with changes over it, or of their tests only some.

        Raises:
            SandboxError: the box failed, not the tests.
        """
        with self.box.session(image=self.image, limits=LIMITS) as session:
            write(session, changes)
            began = time.monotonic()
            ran = run_tests(
                session,
                paths,
                only=only,
                until_failure=until_failure,
                seed=number,
                shuffle=number == SHUFFLED,
                test_s=self.test_s,
                wall_s=self.wall_s,
                imports=self.imports,
            )
            self.clock.add(time.monotonic() - began)
        return ran


def write(session: Session, changes: Contents) -> None:
    """Write changes into a session, and take away what is gone."""
    gone = sorted(path for path, contents in changes.items() if contents is None)
    there = {path: contents for path, contents in changes.items() if contents is not None}
    if gone:
        session.run(["rm", "-f", "--", *gone])
    if there:
        session.run(["true"], files=there)
