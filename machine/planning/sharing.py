"""Attempts that share a server: exact processor sharing, by one virtual clock.

The clock shows the tokens that an attempt would have made that was there from the beginning. With n
attempts it runs at 1 / (a + b n) tokens a second, and an attempt ends when the clock shows the
attempt's length more than when it came: no other attempt's coming or going has to touch it.
"""

from __future__ import annotations

import math
from collections import deque
from heapq import heappop, heappush

Attempt = tuple[float, int, float, float, "Group"]
"""Where the clock ends it, a number that decides ties, its length, when it began, its group."""


class Group:
    """Attempts at one task."""

    __slots__ = ("left", "oldest", "second", "tokens")

    def __init__(self) -> None:
        self.left, self.tokens, self.second = 0, 0.0, False
        self.oldest = 1 << 60


class Server:
    """Attempts that share a server, by one virtual clock."""

    __slots__ = (
        "a",
        "area",
        "at",
        "b",
        "clock",
        "drains",
        "heap",
        "runs",
        "slots",
        "stamp",
        "version",
        "waiting",
    )  # fmt: skip

    def __init__(self, slots: float, a: float, b: float) -> None:
        self.slots, self.a, self.b = slots, a, b
        self.heap: list[Attempt] = []
        self.waiting: deque[tuple[float, Group]] = deque()
        self.clock = self.at = self.area = 0.0
        self.stamp = self.version = 0
        self.runs, self.drains = True, False

    def settle(self, now: float) -> None:
        """Bring the clock up to now; whatever changes the rate comes after."""
        past, number = now - self.at, len(self.heap)
        if number:
            self.area += past * number
            if self.runs:
                self.clock += past / (self.a + self.b * number)
        self.at = now

    def begin(self, length: float, number: int, group: Group) -> None:
        """One more shares it; the clock must be settled."""
        group.oldest = min(group.oldest, self.version)
        heappush(self.heap, (self.clock + length, number, length, self.at, group))

    def end(self) -> Attempt:
        """The first to end leaves; the clock must be settled at that moment."""
        first = heappop(self.heap)
        self.clock = max(self.clock, first[0])
        return first

    def next_end(self) -> float:
        """When the first attempt ends, if nothing changes until then."""
        if not self.heap or not self.runs:
            return math.inf
        rest = max(self.heap[0][0] - self.clock, 0.0)
        return self.at + rest * (self.a + self.b * len(self.heap))

    def stop(self, now: float) -> None:
        """Nothing moves until it runs again."""
        self.settle(now)
        self.runs = False
        self.stamp += 1

    def lose(self) -> tuple[list[tuple[float, Group]], float]:
        """All that it had, by length and group, and the tokens that they had come to."""
        lost = [(length, group) for _, _, length, _, group in self.heap]
        begun = sum(length - (ends - self.clock) for ends, _, length, *_ in self.heap)
        lost += self.waiting
        self.heap.clear()
        self.waiting.clear()
        return lost, begun
