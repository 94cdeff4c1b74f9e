"""What a climb does when a part of it is lost: that part comes back, the others stay as they are.

lost         who notices                          what comes back
a server     Ray; the router tries elsewhere      the server, with the newest weights
a worker     Ray; its tasks are handed out again  the worker
all servers  an update, or groups that stay away  servers (and workers), once without a step between
the learner  a call to it                         its ranks, from the last checkpoint
the driver   whoever starts it again              on a cluster it finds servers and workers there
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from munro.machine.climb.cluster.learning import LearnerHangs, LearnerLost
from munro.machine.run.goodput import Span, Spans
from munro.rl.ports import GroupSource, Publisher
from munro.rl.state import ClimbState, Cursor
from munro.rollout.store.node import PayloadLost
from munro.rollout.types import Outcome
from munro.rollout.waits import Stalled

LEARNER_RESTARTS = 5
"""Times that a climb goes back to the same checkpoint because a learner process died."""
HANGS = 1
"""Times that it does because one did not answer: whatever it hangs at, it may hang at again."""
STEPS_LATE = 3.0
"""Times `deadlines.step_s` without a step, after which something is wrong whatever it is."""


@dataclass(slots=True)
class Deaths:
    """Of the learner, since it last got to a new checkpoint."""

    step: int
    """Of the checkpoint that the climb last went back to."""
    died: int = 0
    hung: int = 0

    def another(self, lost: LearnerLost | PayloadLost, back_to: int) -> None:
        """Count one.

        Raises:
            LearnerLost: it happened again and again without a new checkpoint in between.
        """
        if back_to > self.step:
            self.step, self.died, self.hung = back_to, 0, 0
        self.died += 1
        self.hung += isinstance(lost, LearnerHangs)
        if self.died > LEARNER_RESTARTS or self.hung > HANGS:
            raise type(lost)(
                f"{lost}; it died {self.died} times without getting from step {back_to} to another "
                "checkpoint"
            ) from lost


class Watchdog:
    """Notices that no step has come for far too long.

    Args:
        limit_s: longest time between two steps.
        dump: writes where every process stands.
    """

    def __init__(self, limit_s: float, dump: Callable[[], None]) -> None:
        self._limit_s, self._dump = limit_s, dump
        self._last = time.monotonic()
        self.is_late = False
        """It has noticed, and written the stacks."""

    def stepped(self) -> None:
        """There was one, or a role came back."""
        self._last, self.is_late = time.monotonic(), False

    def check(self) -> None:
        """To be called from where the loop waits.

        Raises:
            Stalled: it is too long ago; stacks have been written.
        """
        if self.is_late:
            raise Stalled("the climb", "a step (3 x deadlines.step_s)", self._limit_s)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at the clock beside the loop, which may be stuck in anything."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(min(5.0, self._limit_s / 10)):
                if not self.is_late and time.monotonic() - self._last > self._limit_s:
                    self._dump()
                    self.is_late = True

        thread = threading.Thread(target=watch, daemon=True, name="watchdog")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@dataclass(slots=True)
class Patience:
    """Starts servers and workers anew where the climb waits for them in vain: once a step."""

    spans: Spans
    watchdog: Watchdog
    note: Callable[[str], None]
    dump: Callable[[], None]
    servers: Callable[[], None]
    """Starts all servers anew."""
    workers: Callable[[], None]
    """Starts all problem workers anew."""
    tried: int = 0
    """The highest version that servers were told of, whether or not they have it."""
    _at: int = field(default=-1)

    def groups(self, source: GroupSource) -> GroupSource:
        """The source, whose waits are worth another try."""
        return _Groups(self, source)

    def publisher(self, publisher: Publisher) -> Publisher:
        """The publisher, whose updates are worth another try."""
        return _Publisher(self, publisher)

    def again(self, stalled: Stalled, role: str, *restart: Callable[[], None]) -> None:
        """Write where everything stands, and start a role anew.

        Raises:
            Stalled: that was done at this very step already.
        """
        self.dump()
        if self._at == self.spans.step:
            raise stalled
        self._at = self.spans.step
        self.note(f"{stalled}; starting {role} anew")
        for one in restart:
            one()
        self.watchdog.stepped()
        self.spans.mark(Span.RECOVER, role=role)


@dataclass(frozen=True, slots=True)
class _Groups:
    patience: Patience
    source: GroupSource

    def take(self, num_groups: int, state: ClimbState) -> Sequence[Outcome]:
        try:
            return self.source.take(num_groups, state)
        except Stalled as stalled:
            patience = self.patience
            patience.again(stalled, "servers and workers", patience.servers, patience.workers)
        return self.source.take(num_groups, state)

    def settle(self, groups: Sequence[Outcome], step: int) -> Cursor:
        self.patience.watchdog.stepped()
        return self.source.settle(groups, step)

    def metrics(self) -> Mapping[str, float]:
        return self.source.metrics()

    def close(self) -> None:
        self.source.close()


@dataclass(frozen=True, slots=True)
class _Publisher:
    patience: Patience
    one: Publisher

    def publish(self, version: int) -> Mapping[str, float]:
        self.patience.tried = max(self.patience.tried, version)
        try:
            return self.one.publish(version)
        except Stalled as stalled:
            self.patience.again(stalled, "servers", self.patience.servers)
        return self.one.publish(version)
