"""Which worker gets the next task: the one with the fewest."""

from __future__ import annotations

from collections.abc import Iterable


class Dealer:
    """Deals tasks out to workers, and takes note of those that are done.

    Example:
        dealer = Dealer(["worker-0", "worker-1"])
        dealer.deal(), dealer.deal(), dealer.deal()    # worker-0, worker-1, worker-0
        dealer.back("worker-1")
        dealer.deal()                                  # worker-1
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._out = dict.fromkeys(names, 0)

    def deal(self) -> str:
        """The worker with the fewest tasks, the first one of equals; it has one more now."""
        name = min(self._out, key=self._out.__getitem__)
        self._out[name] += 1
        return name

    def back(self, name: str) -> None:
        """A task of that worker is done."""
        self._out[name] -= 1
