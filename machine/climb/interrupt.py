"""Ctrl-C: the first one asks the climb to end after its step, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupt:
    """Inside, SIGINT and SIGTERM set `requested`; a second one raises KeyboardInterrupt.

    Signals are the main thread's: in any other, nothing is caught.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self.requested = False
        self._note = note
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._note("stopping after this step, with a checkpoint; once more to stop at once")
