"""A queue that is fair to groups: what one of them sends cannot keep the others waiting.

Work is taken from the group that has had the least of the takers' time. A group that was caught
sending poison (work that ran out of time, or killed who did it) holds at most half of the takers
from then on. Each group has room for so much that waits; who would send more, waits at the door.

    put      waits: while the queue, or the group's share of it, is full
    take     waits: while there is nothing to do
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Generic, TypeVar

Work = TypeVar("Work")

MOST_SUSPECTS = 4096
"""Groups remembered for poison; the oldest are forgotten first."""


class Full(Exception):
    """There was no room in time."""


class Closed(Exception):
    """The queue takes and gives nothing more."""


@dataclass(slots=True)
class _Group(Generic[Work]):
    waiting: deque[Work] = field(default_factory=deque)
    spent: float = 0.0
    """Seconds of takers' time that it had, from its first work on; level with the others then."""
    started: dict[int, float] = field(default_factory=dict)
    """When each of its works that are under way was taken."""

    def had(self, now: float) -> float:
        return self.spent + sum(now - start for start in self.started.values())


class FairQueue(Generic[Work]):
    """Works of many groups, for `takers` threads. Safe to use from many threads.

    Example:
        queue = FairQueue(capacity=100, takers=4)
        queue.put("task-7", work)
        group, work = queue.take()
        queue.done(group, work)
    """

    def __init__(self, *, capacity: int, takers: int) -> None:
        """
        Args:
            capacity: works that may wait; one group fills at most half of it. A group that has
                nothing waiting is always let in.
            takers: threads that take.
        """
        self._capacity = capacity
        self._takers = takers
        self._groups: dict[str, _Group[Work]] = {}
        self._suspects: OrderedDict[str, None] = OrderedDict()
        self._num_waiting = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Works that wait."""
        return self._num_waiting

    def put(self, group: str, work: Work, *, timeout_s: float | None = None) -> None:
        """Add work at the end of its group.

        Raises:
            Full: no room within `timeout_s`.
            Closed: it was closed, perhaps meanwhile.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(group), timeout_s):
                raise Full
            if self._is_closed:
                raise Closed
            if group not in self._groups:
                self._groups[group] = _Group(spent=self._least())
            self._groups[group].waiting.append(work)
            self._num_waiting += 1
            self._changed.notify_all()

    def take(self) -> tuple[str, Work]:
        """The next work and its group; say `done` afterwards.

        Raises:
            Closed: there will be nothing more.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._next() is not None)
            group = self._next()
            if self._is_closed or group is None:
                raise Closed
            of_group = self._groups[group]
            work = of_group.waiting.popleft()
            of_group.started[id(work)] = time.monotonic()
            self._num_waiting -= 1
            self._changed.notify_all()
            return group, work

    def done(self, group: str, work: Work, *, was_poison: bool = False) -> None:
        """The taker of `work` is free again. Says nothing when it was said before."""
        with self._changed:
            of_group = self._groups.get(group)
            if of_group is None or id(work) not in of_group.started:
                return
            of_group.spent += time.monotonic() - of_group.started.pop(id(work))
            if was_poison and group:
                self._suspects[group] = None
                self._suspects.move_to_end(group)
                if len(self._suspects) > MOST_SUSPECTS:
                    self._suspects.popitem(last=False)
            self._forget_if_idle(group)
            self._changed.notify_all()

    def withdraw(self, group: str, work: Work) -> bool:
        """Take back what still waits; False where it was taken already."""
        with self._changed:
            of_group = self._groups.get(group)
            if of_group is None or not any(each is work for each in of_group.waiting):
                return False
            of_group.waiting = deque(each for each in of_group.waiting if each is not work)
            self._num_waiting -= 1
            self._forget_if_idle(group)
            self._changed.notify_all()
            return True

    def close(self) -> list[Work]:
        """Give out nothing more; what was still waiting."""
        with self._changed:
            self._is_closed = True
            left = [work for of_group in self._groups.values() for work in of_group.waiting]
            self._groups.clear()
            self._num_waiting = 0
            self._changed.notify_all()
            return left

    def _has_room(self, group: str) -> bool:
        if self._is_closed:
            return True
        of_group = self._groups.get(group)
        num = len(of_group.waiting) if of_group else 0
        if num == 0 and group:
            return True
        share = self._capacity if len(self._groups) <= 1 else self._capacity // 2
        return self._num_waiting < self._capacity and num < max(share, 1)

    def _next(self) -> str | None:
        """The group that is to be served next, if any may be."""
        now = time.monotonic()
        allowed = [
            (of_group.had(now), name)
            for name, of_group in self._groups.items()
            if of_group.waiting and not self._is_held_back(name, of_group)
        ]
        return min(allowed, key=itemgetter(0))[1] if allowed else None

    def _is_held_back(self, name: str, of_group: _Group[Work]) -> bool:
        return name in self._suspects and len(of_group.started) >= max(self._takers // 2, 1)

    def _least(self) -> float:
        """Where a new group begins: neither owed time for its absence nor behind for it."""
        now = time.monotonic()
        return min((of_group.had(now) for of_group in self._groups.values()), default=0.0)

    def _forget_if_idle(self, group: str) -> None:
        of_group = self._groups[group]
        if not of_group.waiting and not of_group.started:
            del self._groups[group]
