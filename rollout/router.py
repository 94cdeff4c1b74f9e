"""Many inference servers behind one `Engine`: load, retries, and servers that are left alone.

A request goes to the least loaded server that is trusted (`munro.rollout.fleet.breaker`), has room
and serves the expected weights; a later turn of an episode to the one that has its beginning in the
cache (`Homes`), unless that one is not usable or has far more to do than the others. When a server
fails, the request goes to another, with what came of it where it is asked for in pieces.

Which servers there are, and what they serve, a `Directory` says where there is one, in one call
every few seconds; without one they are those given, and each is asked itself.

`generate` waits for a completion, at most its deadline a server; for one to have room; and where no
server is usable for one to be well again, at most the patience.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from munro.rewards.errors import PolicyError
from munro.rollout.engine import Completion, Engine, Request, WeightSource
from munro.rollout.fleet.breaker import Breaker, Patience, Stage
from munro.rollout.fleet.known import Homes, Server
from munro.rollout.fleet.partial import is_last, joined, piece_of
from munro.rollout.fleet.types import Listed, State, View
from munro.rollout.waits import Stalled, waiting

__all__ = ["Directory", "Patience", "Router"]

PROBE_S = 30.0
"""Longest wait for a server to say which version it serves."""
REDISCOVER_S = 5.0
"""After so long the directory is asked again who is there."""
CROWD = 8
"""Requests that an episode's own server may have more of than twice the least loaded one's."""


class Directory(Protocol):
    """Says which servers there are; `munro.rollout.cluster` has one."""

    async def view(self) -> View:
        """All of them. Raises `PolicyError` where nobody answers."""
        ...

    async def caught(self, listed: Listed, why: str) -> None:
        """One of them has other weights than it says."""
        ...

    def engine(self, listed: Listed) -> Engine:
        """One of them."""
        ...


class Router:
    """Keeps the contract of `munro.rollout.engine.Engine` over several of them.

    Args:
        servers: engines by name, where no directory says which there are.
        patience: deadlines and back-off.
        directory: says which there are.
        piece: tokens after which a reply is taken in, so that a server's death costs no more; 0
            for the whole reply.
    """

    def __init__(
        self,
        servers: Mapping[str, Engine],
        patience: Patience,
        *,
        directory: Directory | None = None,
        piece: int = 0,
    ) -> None:
        self._servers = [Server(name, engine) for name, engine in servers.items()]
        self._patience, self._directory, self._piece = patience, directory, piece
        self._expected = -1
        self._homes = Homes()
        self._behind: set[asyncio.Task[None]] = set()
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self._num_routers = 1
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def engines(self) -> list[Engine]:
        """The servers themselves, for lockstep."""
        return [server.engine for server in self._servers]

    def expect(self, version: int) -> None:
        """Use no server from now on that serves weights older than `version`."""
        self._expected = version
        for server in self._servers:
            if not server.breaker.is_open:
                server.breaker = replace(server.breaker, probe_at=0.0)

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `Engine.generate`; all go to one server, and to another one when it fails.

        Raises:
            PolicyError: no server was usable for as long as patience lasts; names each one's
                failure.
        """
        if self._piece:
            return list(await asyncio.gather(*(self._in_pieces(one) for one in requests)))
        return await self._whole(requests)

    async def _in_pieces(self, request: Request) -> Completion:
        done, number = None, 0
        while True:
            piece = piece_of(request, done, self._piece, number)
            (got,) = await self._whole([piece])
            done = got if done is None else joined(done, got)
            if is_last(piece, got, request, done):
                return done
            number += 1

    async def _whole(self, requests: Sequence[Request]) -> list[Completion]:
        avoided: set[Server] = set()
        end = self._now + self._patience.patience_s
        last_failure = ""
        while True:
            try:
                server = await self._choose(avoided, end, self._homes.of(requests))
            except PolicyError as failure:
                # a probe may have found the server well again, and forgotten why it failed
                raise PolicyError(f"{failure}{last_failure}") from failure
            try:
                completions = await self._ask(server, requests)
                self._homes.settle(requests, server)
                return completions
            except PolicyError as failure:
                avoided.add(server)
                self._failed(server, failure)
                last_failure = f"; this request last failed with: {failure}"

    async def score(self, token_ids: Sequence[int], *, base: bool = False) -> NDArray[np.float32]:
        """See `Engine.score`; from the least loaded server."""
        server = await self._choose(set(), self._now + self._patience.patience_s)
        return await server.engine.score(token_ids, base=base)

    async def update_weights(self, source: WeightSource, *, drain: bool) -> None:
        """See `Engine.update_weights`: all servers, and the new version is expected from now on.

        A server that fails is left alone until it serves that version: restarted, it catches up.

        Raises:
            PolicyError: not one server could be updated.
        """
        outcomes = await asyncio.gather(
            *(server.engine.update_weights(source, drain=drain) for server in self._servers),
            return_exceptions=True,
        )
        self.expect(source.version)
        for server, outcome in zip(self._servers, outcomes, strict=True):
            if isinstance(outcome, PolicyError):
                self._failed(server, outcome, is_grave=True)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                server.version = source.version
        if all(isinstance(outcome, PolicyError) for outcome in outcomes):
            raise PolicyError(f"no server took the weights of version {source.version}: {self}")

    async def version(self) -> int:
        """The oldest version that any server answers with.

        Raises:
            PolicyError: none answers.
        """
        await asyncio.gather(*(self._probe(server) for server in self._servers))
        versions = [server.version for server in self._servers if not server.last_failure]
        if not versions:
            raise PolicyError(f"no server answers: {self}")
        return min(versions)

    async def close(self) -> None:
        """Close all servers."""
        await asyncio.gather(*(server.engine.close() for server in self._servers))

    def __str__(self) -> str:
        return "; ".join(map(str, self._servers))

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _choose(self, avoided: set[Server], end: float, home: Server | None = None) -> Server:
        """`home`, or the least loaded server with room; who just failed this request comes last."""
        while True:
            server = self._best(avoided, home)
            if server is None and not self._usable(avoided):
                await self._until_usable(avoided, end)
            elif server is None:
                await self._until_room()
            else:
                self._look_behind()
                return server

    def _best(self, avoided: set[Server], home: Server | None) -> Server | None:
        """Who is to be asked next; None where nobody has room, or nobody is usable."""
        free = [server for server in self._usable(avoided) if self._has_room(server)]
        server = min(free, key=lambda server: server.num_running, default=None)
        if server is None or home is None or home not in free:
            return server
        return server if home.num_running > 2 * server.num_running + CROWD else home

    def _usable(self, avoided: set[Server]) -> list[Server]:
        return [s for s in self._servers if self._is_usable(s) and s not in avoided]

    def _is_usable(self, server: Server) -> bool:
        is_new_enough = server.version >= max(self._expected, 0)
        return server.is_listed and not server.breaker.is_open and is_new_enough

    def _has_room(self, server: Server) -> bool:
        """Whether its engine has room, and it is trusted with one more."""
        if server.listed is not None and server.listed.most is not None:
            if server.num_running >= max(server.listed.most / self._num_routers, 1):
                return False
        elif server.breaker.stage is Stage.CLOSED:
            return True
        trusted = [s for s in self._usable(set()) if s.breaker.stage is Stage.CLOSED]
        whole = sum(one.num_running for one in self._servers)
        return server.breaker.room(server.num_running, whole, alone=not trusted)

    async def _until_usable(self, avoided: set[Server], end: float) -> None:
        """Wait until there is a usable server that has not just failed this request.

        Raises:
            PolicyError: there is none before `end`.
        """
        try:
            async with waiting("an inference server to be usable", max(end - self._now, 0.001)):
                while True:
                    await self._look_again()
                    if self._usable(avoided):
                        return
                    # all that work have failed this request: a moment's pause, then anyone will do
                    await asyncio.sleep(self._patience.backoff_s)
                    avoided.clear()
        except Stalled as stalled:
            raise PolicyError(f"{stalled}: {self}") from stalled

    async def _until_room(self) -> None:
        """Wait until a request is answered, or more is known of the servers.

        Raises:
            PolicyError: nothing of the kind as long as patience lasts.
        """
        try:
            async with waiting("room on an inference server", self._patience.patience_s):
                self._look_behind()
                freed = asyncio.get_running_loop().create_future()
                self._waiting.append(freed)
                await freed
        except Stalled as stalled:
            raise PolicyError(f"{stalled}: {self}") from stalled

    def _wake(self, most: int) -> None:
        """There is room for so many requests more: let as many look who wait for it."""
        while most > 0 and self._waiting:
            freed = self._waiting.popleft()
            if not freed.done():
                freed.set_result(None)
                most -= 1

    async def _look_again(self) -> None:
        """Look for a usable server; where nobody is one, wait until somebody may be probed."""
        if self._directory is not None:
            await self._rediscover(self._patience.backoff_s)
        doubtful = [server for server in self._servers if self._is_doubtful(server)]
        if len(doubtful) == len(self._servers) and doubtful:
            soonest = min(server.breaker.probe_at for server in doubtful) - self._now
            await asyncio.sleep(min(max(soonest, 0), REDISCOVER_S))
        await asyncio.gather(*(self._probe_if_due(server) for server in doubtful))

    def _is_doubtful(self, server: Server) -> bool:
        """Whether a probe could make it usable; what a directory says is not asked for again."""
        if self._directory is not None:
            return server.is_listed and server.breaker.is_open
        return not self._is_usable(server)

    def _look_behind(self) -> None:
        """Probe who is not usable, and see who is there, without keeping anybody waiting."""
        is_old = self._now - self._looked_at >= REDISCOVER_S
        if self._directory is not None and is_old and not self._looking.locked():
            self._do_behind(self._rediscover(REDISCOVER_S))
        for server in self._servers:
            is_due = server.breaker.probe_at <= self._now and not server.probing.locked()
            if self._is_doubtful(server) and is_due:
                self._do_behind(self._probe_if_due(server))

    def _do_behind(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def _rediscover(self, older_than_s: float) -> None:
        """Ask the directory, unless somebody has just done so."""
        assert self._directory is not None
        async with self._looking:
            if (left := self._looked_at + older_than_s - self._now) > 0:
                if self._usable(set()):
                    return
                await asyncio.sleep(left)
            try:
                async with waiting("the servers' registry", PROBE_S):
                    view = await self._directory.view()
            except (PolicyError, Stalled):
                return  # what was known is as good as anything
            finally:
                self._looked_at = self._now
            self._take(view, self._directory)

    def _take(self, view: View, directory: Directory) -> None:
        """Know from now on what a view says."""
        before = {server.name: server for server in self._servers}
        listed = {one.name: one for one in view.servers}
        now: list[Server] = []
        for name, one in listed.items():
            server = before.get(name)
            held = server.listed if server is not None else None
            if server is None or held is None or held.incarnation != one.incarnation:
                server = Server(name, directory.engine(one))
                if before:  # it came later than the others: one request first
                    server.breaker = Breaker(stage=Stage.HALF_OPEN)
            server.listed, server.version = one, one.version
            now.append(server)
        if view.is_young:  # it may not have heard of those yet that it does not list
            now += [server for name, server in before.items() if name not in listed]
        for server in before.values():
            if server not in now and server.listed is not None:
                server.listed = replace(server.listed, state=State.GONE)
        self._servers, self._num_routers = now, view.num_routers
        self._wake(len(self._waiting))

    async def _probe_if_due(self, server: Server) -> None:
        async with server.probing:
            # somebody else may have probed it while this one waited for its turn
            if self._is_usable(server) or server.breaker.probe_at > self._now:
                return
            await self._probe(server)

    async def _probe(self, server: Server) -> None:
        """Ask for the version: a server that says the right one is worth a request."""
        try:
            async with waiting(f"{server.name} to say its version", PROBE_S):
                server.version = await server.engine.version()
        except (PolicyError, Stalled) as failure:
            self._failed(server, failure, is_grave=True)
            return
        server.last_failure = ""
        if server.version >= self._expected:
            server.breaker = server.breaker.well()
        else:
            # it answers: ask again soon, and do not count it as a failure
            again = self._now + self._patience.backoff_s
            server.breaker = replace(server.breaker, probe_at=again)

    async def _ask(self, server: Server, requests: Sequence[Request]) -> list[Completion]:
        what = f"{len(requests)} completions of {server.name}"
        claimed = server.version
        server.num_running += len(requests)
        try:
            async with waiting(what, self._patience.deadline_s):
                completions = await server.engine.generate(requests)
        except Stalled as stalled:
            # one that hangs holds up whatever it is given: do not wait for more of it
            server.breaker = replace(server.breaker, stage=Stage.OPEN)
            raise PolicyError(str(stalled)) from stalled
        finally:
            server.num_running -= len(requests)
            self._wake(len(requests))
        await self._believe(server, claimed, completions)
        before, server.last_failure = server.breaker.stage, ""
        server.breaker = server.breaker.answered()
        if server.breaker.stage is not before:  # it may have more than one at a time now
            self._wake(len(self._waiting))
        return completions

    async def _believe(
        self, server: Server, claimed: int, completions: Sequence[Completion]
    ) -> None:
        """See that it wrote with the weights that it said it had, or newer ones.

        Raises:
            PolicyError: it did not.
        """
        oldest = min(
            (int(one.versions.min()) for one in completions if len(one.versions)), default=claimed
        )
        if oldest >= claimed:
            return
        why = f"{server.name} said that it has version {claimed}, and wrote with version {oldest}"
        server.version = oldest
        server.breaker = replace(server.breaker, stage=Stage.OPEN)
        if self._directory is not None and server.listed is not None:
            await self._directory.caught(server.listed, why)
        raise PolicyError(why)

    def _failed(self, server: Server, failure: Exception, is_grave: bool = False) -> None:
        """Count a failure; several in a row, or a grave one, open the breaker."""
        server.last_failure = str(failure)
        server.breaker = server.breaker.failed(self._patience, now=self._now, is_grave=is_grave)
