"""Results remembered by key: work asked for twice, even at the same moment, is done once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Cache(Generic[Result]):
    """The `size` results used last. Failures are not remembered. Safe to use from many threads.

    Example:
        squares = Cache(size=100)
        squares.get(12, lambda: 12 * 12)        # 144
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._results: OrderedDict[Hashable, Future[Result]] = OrderedDict()

    def get(self, key: Hashable, work: Callable[[], Result]) -> Result:
        """The result remembered, that of the same work under way, or that of `work`.

        Raises what `work` raises, to all who wait for it.
        """
        ours: Future[Result] = Future()
        with self._lock:
            result = self._results.setdefault(key, ours)
            self._results.move_to_end(key)
            if len(self._results) > self._size:
                self._results.popitem(last=False)
        if result is not ours:
            return result.result()
        try:
            ours.set_result(work())
        except BaseException as failure:
            with self._lock:
                self._results.pop(key, None)
            ours.set_exception(failure)
            raise
        return ours.result()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._results.clear()
