"""Sampling that repeats bit by bit: everybody waits until everybody is ready.

What an engine computes for a request depends, in the last bits, on what else is in the batch. So
on-policy mode lets nobody's timing decide that. Requests are held back until every live party is
waiting for one (quiescence). Then they are sorted by key and sent as one call a server, an
episode's later turns to the server that has its beginning.

    live parties:   attempts that play an episode, and problems between their phases
    ready:          waiting for a completion
    batch:          when all that live are ready, and at least one is

A party that grades, or waits for a tool, is live and not ready, so the batch waits for it, however
long its thread takes. Liveness is never dropped in between: a problem hands its own to its attempts
when it starts them, and the last attempt to finish hands it back (`gather`). Otherwise a slow
grader would decide whether its problem's second phase made it into a batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from munro.rewards.errors import PolicyError
from munro.rollout.engine import Completion, Engine, Request
from munro.rollout.waits import Stalled, waiting

T = TypeVar("T")


class Together(Protocol):
    """How the attempts of a wave share the engines."""

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """As `Engine.generate`."""
        ...

    async def gather(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Run all at once and give their results in order."""
        ...

    def away(self) -> AbstractContextManager[None]:
        """While it is open, nobody waits for the calling attempt."""
        ...


class Freely:
    """Everyone as fast as they can: requests go straight to the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `Together.generate`."""
        return await self._engine.generate(requests)

    async def gather(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """See `Together.gather`."""
        return await _all(_tasks(work))

    def away(self) -> AbstractContextManager[None]:
        """See `Together.away`: nobody waits for anybody here."""
        return nullcontext()


@dataclass(slots=True, eq=False)
class _Ready:
    """A party that waits for completions."""

    requests: Sequence[Request]
    done: asyncio.Future[list[Completion]]


class Lockstep:
    """One wave, batch by batch. The same wave on the same weights gives the same bits.

    Args:
        servers: the first turns of a batch, in the order of keys, are dealt out to them in turn,
            later ones go where their episode began. The same number of servers gives the same
            split.
        version: of the weights that the wave is sampled from; a server that comes back with older
            ones is not back yet.
        deadline_s: longest wait for one server's share of a batch.
        patience_s: longest wait for a server that failed to serve again. It is then given the very
            same share: restarted with the same weights, it gives the same bits.

    Example:
        lockstep = Lockstep(servers, version=7, deadline_s=600, patience_s=120)
        await lockstep.run([solve(index, lockstep) for index in wave])
    """

    def __init__(
        self,
        servers: Sequence[Engine],
        *,
        version: int,
        deadline_s: float,
        patience_s: float,
        probe_s: float = 1.0,
    ) -> None:
        self._servers = servers
        self._version = version
        self._deadline_s = deadline_s
        self._patience_s = patience_s
        self._probe_s = probe_s
        self._num_live = 0
        self._ready: dict[_Ready, None] = {}
        self._homes: dict[tuple[int, ...], int] = {}
        """Place of the server that has an episode's beginning, by what its keys have in common."""
        self._batches: set[asyncio.Task[None]] = set()

    async def run(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Run the parties of a whole wave; call it from outside the wave."""
        self._num_live += 1  # the caller, who hands its place on to them
        try:
            return await self.gather(work)
        finally:
            self._leave()

    async def gather(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Let these take the place of the calling party, until the last one hands it back."""
        if not work:
            return []
        rest = len(work)
        self._num_live += rest - 1

        def ended(_: asyncio.Task[T]) -> None:
            nonlocal rest
            rest -= 1
            if rest:  # the last one's place is the caller's again
                self._leave()

        tasks = _tasks(work)
        for task in tasks:
            task.add_done_callback(ended)
        return await _all(tasks)

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Wait for quiescence, then for the batch; to be called by a live party."""
        ready = _Ready(requests, asyncio.get_running_loop().create_future())
        self._ready[ready] = None
        self._go_if_quiet()
        try:
            return await ready.done
        except asyncio.CancelledError:
            self._ready.pop(ready, None)
            raise

    @contextmanager
    def away(self) -> Iterator[None]:
        """The calling party is not live while this is open: a batch goes without it.

        Only for what the party's own siblings give back when they end (a box): who comes back then
        is live again before the one who left is not, so a wave stays the same whatever it takes.
        """
        self._leave()
        try:
            yield
        finally:
            self._num_live += 1

    def _leave(self) -> None:
        self._num_live -= 1
        self._go_if_quiet()

    def _go_if_quiet(self) -> None:
        if not self._ready or len(self._ready) < self._num_live:
            return
        batch, self._ready = list(self._ready), {}
        sending = asyncio.get_running_loop().create_task(self._send(batch))
        self._batches.add(sending)
        sending.add_done_callback(self._batches.discard)
        for ready in batch:
            ready.done.add_done_callback(lambda _: self._stop_if_unwanted(batch, sending))

    @staticmethod
    def _stop_if_unwanted(batch: Sequence[_Ready], sending: asyncio.Task[None]) -> None:
        if all(ready.done.cancelled() for ready in batch):
            sending.cancel()

    async def _send(self, batch: Sequence[_Ready]) -> None:
        requests = sorted(
            (request for ready in batch for request in ready.requests), key=lambda r: r.key
        )
        shares = self._dealt(requests)
        done = await asyncio.gather(
            *(self._share(server, share) for server, share in enumerate(shares) if share),
            return_exceptions=True,
        )
        completions: dict[tuple[int, ...], Completion] = {}
        failure: BaseException | None = None
        for share, outcome in zip(filter(None, shares), done, strict=True):
            if isinstance(outcome, BaseException):
                failure = outcome
            else:
                keys = (request.key for request in share)
                completions.update(zip(keys, outcome, strict=True))
        for ready in batch:
            if ready.done.done():
                continue
            if all(request.key in completions for request in ready.requests):
                ready.done.set_result([completions[request.key] for request in ready.requests])
            else:
                assert failure is not None, "a share without completions and without a failure"
                ready.done.set_exception(failure)

    def _dealt(self, requests: Sequence[Request]) -> list[list[Request]]:
        """Each server's share of a batch, in the order of keys.

        A later turn goes to the server that has its episode's beginning in the cache; the others
        fill up the smallest shares, the first one of equals. Nothing but the wave decides it.
        """
        shares: list[list[Request]] = [[] for _ in self._servers]
        new = []
        for request in requests:
            home = self._homes.get(request.key[:-1]) if len(request.key) > 1 else None
            if home is None:
                new.append(request)
            else:
                shares[home].append(request)
        for request in new:
            server = min(range(len(shares)), key=lambda place: len(shares[place]))
            self._homes[request.key[:-1]] = server
            shares[server].append(request)
        return [sorted(share, key=lambda request: request.key) for share in shares]

    async def _share(self, server: int, share: Sequence[Request]) -> list[Completion]:
        """One server's completions, from the same server again when it failed and came back."""
        try:
            return await self._ask(server, share)
        except PolicyError as failure:
            await self._until_back(server, failure)
            return await self._ask(server, share)

    async def _ask(self, server: int, share: Sequence[Request]) -> list[Completion]:
        what = f"{len(share)} completions of server {server} in lockstep"
        try:
            async with waiting(what, self._deadline_s):
                return await self._servers[server].generate(share)
        except Stalled as stalled:
            raise PolicyError(str(stalled)) from stalled

    async def _until_back(self, server: int, failure: PolicyError) -> None:
        try:
            async with waiting(f"server {server} to come back", self._patience_s):
                while not await self._is_back(server):
                    await asyncio.sleep(self._probe_s)
        except Stalled as stalled:
            raise PolicyError(f"{stalled}. It failed with: {failure}") from failure

    async def _is_back(self, server: int) -> bool:
        try:
            return await self._servers[server].version() >= self._version
        except PolicyError:
            return False


async def _all(tasks: Sequence[asyncio.Task[T]]) -> list[T]:
    """Results in order. The first exception cancels the others, waits for them, and is raised."""
    try:
        return await asyncio.gather(*tasks)
    finally:
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _tasks(work: Sequence[Coroutine[Any, Any, T]]) -> list[asyncio.Task[T]]:
    loop = asyncio.get_running_loop()
    return [loop.create_task(one) for one in work]
