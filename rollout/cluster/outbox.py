"""What a worker has done, until whoever gave it the work takes it, as many at once as there are."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

Made = TypeVar("Made")


class Outbox(Generic[Made]):
    """Pieces of work under way, and what they came to.

    Example:
        outbox.begin(solve(7))
        outcomes = await outbox.take(pause_s=0.1)
    """

    def __init__(self) -> None:
        self._done: asyncio.Queue[Made | Exception] = asyncio.Queue()
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, Made]) -> None:
        """Have it done beside all else."""
        task = asyncio.create_task(self._do(work, self._done))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _do(
        self, work: Coroutine[Any, Any, Made], done: asyncio.Queue[Made | Exception]
    ) -> None:
        try:
            done.put_nowait(await work)
        except Exception as error:  # noqa: BLE001 - told to whoever takes it
            done.put_nowait(error)

    async def take(self, pause_s: float) -> list[Made]:
        """All that is done; waits for the first of it, and so long for the rest of what was begun.

        Raises:
            Exception: what a piece of work raised.
        """
        queue = self._done
        done = [await queue.get()]
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=pause_s)
        while not queue.empty():
            done.append(queue.get_nowait())
        made: list[Made] = []
        for one in done:
            if isinstance(one, Exception):
                raise one
            made.append(one)
        return made

    def forget(self) -> None:
        """Give up all that is under way, for who asked for it is gone."""
        for task in list(self._under_way):
            task.cancel()
        # whoever still waits at the old one takes nothing that is meant for others
        self._done = asyncio.Queue()
