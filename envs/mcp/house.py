"""The one event loop in which this process talks to servers, in a thread of its own.

A session must be left by the task that entered it, and what is shared outlives the loop that an
episode happens to run in; so none of them runs there. The thread lives as long as the process does:
Linux tells a child that its parent died when the *thread* that started it ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


async def within(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, done in the house; cancelled there where it is cancelled here."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop()))


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """The same, for callers without a loop."""
    return asyncio.run_coroutine_threadsafe(work, loop()).result()


def loop() -> asyncio.AbstractEventLoop:
    """It, running."""
    global _loop
    with _lock:
        if _loop is None:
            # what goes wrong is raised, by whoever asked; the package logs it as well, at length
            logging.getLogger("mcp.client").setLevel(logging.CRITICAL)
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, daemon=True, name="mcp servers").start()
        return _loop


def _forget() -> None:
    """In a forked child, where the thread does not live on."""
    global _lock, _loop
    _lock = threading.Lock()
    _loop = None


os.register_at_fork(after_in_child=_forget)
