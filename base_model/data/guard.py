"""A bound on the time that one document may take."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TookTooLong(Exception):
    """The bound was passed."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Interrupt what runs inside after so many seconds.

    It works by an alarm, which only the main thread of a process gets: workers run there, and so
    does a build without workers.

    Raises:
        TookTooLong: they are over.
        RuntimeError: called in another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a time limit needs the main thread of a process")
    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, _interrupt)
    delay, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        # somebody else's alarm goes on, and is not lost if its time came meanwhile
        left = max(delay - (time.monotonic() - began), 0.001) if delay else 0.0
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, left, interval)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise TookTooLong
