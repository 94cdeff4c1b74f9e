"""Which worker gets the next task: the one with the fewest."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush


class Dealer:
    """Deals tasks out to workers, and takes note of those that are done. O(log workers) a task.

    Example:
        dealer = Dealer(["worker-0", "worker-1"])
        dealer.deal(), dealer.deal(), dealer.deal()    # worker-0, worker-1, worker-0
        dealer.back("worker-1")
        dealer.deal()                                  # worker-1
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._place = {name: place for place, name in enumerate(self._names)}
        self._out = [0] * len(self._names)
        # an entry counts while it says what `_out` says; others are passed over
        self._heap = [(0, place) for place in range(len(self._names))]
        heapify(self._heap)

    def deal(self) -> str:
        """The worker with the fewest tasks, the first one of equals; it has one more now."""
        while True:
            out, place = heappop(self._heap)
            if out == self._out[place]:
                break
        self._set(place, out + 1)
        return self._names[place]

    def back(self, name: str) -> None:
        """A task of that worker is done."""
        place = self._place[name]
        self._set(place, self._out[place] - 1)

    def _set(self, place: int, out: int) -> None:
        self._out[place] = out
        heappush(self._heap, (out, place))
        if len(self._heap) > 8 * len(self._names):
            self._heap = [(out, place) for place, out in enumerate(self._out)]
            heapify(self._heap)
