"""Threads in which user code is called: as many as are needed at once, each used again when free.

A thread whose work never returns is simply never free again, which nobody has to wait for. They
are daemons, so that none keeps the process alive; one that had nothing to do for a while ends.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

IDLE_S = 10.0
"""After which a thread without work ends."""

_lock = threading.Lock()
_free: list[_Worker] = []


class _Worker:
    """One thread, and what it is given to do next."""

    def __init__(self) -> None:
        self.given: queue.SimpleQueue[tuple[str, Callable[[], None]]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True, name="free for a call")
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                name, work = self.given.get(timeout=IDLE_S)
            except queue.Empty:
                with _lock:
                    if self in _free:
                        _free.remove(self)
                        return
                continue  # work is on its way
            self._thread.name = name
            work()
            del work  # with all that it holds
            self._thread.name = "free for a call"
            with _lock:
                _free.append(self)


def start(name: str, work: Callable[[], None]) -> None:
    """Do `work`, which raises nothing, in a thread that bears `name` meanwhile."""
    with _lock:
        # the one that was used last: others may end
        worker = _free.pop() if _free else None
    (worker or _Worker()).given.put((name, work))


def _forget() -> None:
    """In a forked child, where none of them lives on."""
    global _lock
    _lock = threading.Lock()
    _free.clear()


os.register_at_fork(after_in_child=_forget)
