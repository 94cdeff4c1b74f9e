"""Many inference servers behind one `Engine`: load, retries, and servers that are left alone.

    closed ──(failures in a row, or one overrun)──► open ──(back-off)──► probed ──► closed
                                                     ▲                     │
                                                     └──(still not well)───┘

A request goes to the least loaded server that is closed and serves the expected weights; a later
turn of an episode to the one that has its beginning in the cache (`Homes`), unless that one is not
usable or has far more to do than the others. When a server fails, the request goes to another.
`generate` waits for a completion, at most its deadline a server; and where no server is usable for
one to be well again, at most the patience.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from munro.rewards.errors import PolicyError
from munro.rollout.engine import Completion, Engine, Request, WeightSource
from munro.rollout.waits import Stalled, waiting

PROBE_S = 30.0
"""Longest wait for a server to say which version it serves."""
MOST_HOMES = 65_536
"""Episodes whose server is remembered; those that were heard of longest ago are forgotten."""
CROWD = 8
"""Requests that an episode's own server may have more of than twice the least loaded one's."""


@dataclass(slots=True, eq=False)
class Server:
    """What the router knows of one server."""

    name: str
    engine: Engine
    num_running: int = 0
    failures: int = 0
    """In a row."""
    is_open: bool = False
    """Left alone until a probe finds it well."""
    probe_at: float = 0.0
    """Loop time before which it is not probed."""
    version: int = -1
    """As of the last look; -1 before the first."""
    last_failure: str = ""
    probing: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the router bears with whom."""

    deadline_s: float
    """Longest wait for one completion from one server."""
    patience_s: float
    """Longest wait for any server to be usable, over all tries of a request."""
    max_failures: int = 3
    """Failures in a row that open a server's circuit breaker."""
    backoff_s: float = 0.5
    """Before the first probe of an opened server; doubles with every vain one."""
    backoff_max_s: float = 15.0


class Homes:
    """Which server has the beginning of an episode: the one that answered its last turn.

    An episode is what its requests' keys have in common: all but the turn.
    """

    def __init__(self) -> None:
        self._homes: OrderedDict[tuple[int, ...], Server] = OrderedDict()

    def of(self, requests: Sequence[Request]) -> Server | None:
        """The server of the first one's episode; None where nobody has any of it."""
        return self._homes.get(requests[0].key[:-1]) if requests else None

    def settle(self, requests: Sequence[Request], server: Server) -> None:
        """This one has them all now."""
        for episode in (request.key[:-1] for request in requests if len(request.key) > 1):
            self._homes[episode] = server
            self._homes.move_to_end(episode)
        while len(self._homes) > MOST_HOMES:
            self._homes.popitem(last=False)


class Router:
    """Keeps the contract of `munro.rollout.engine.Engine` over several of them.

    Args:
        servers: engines by name.
        patience: deadlines and back-off.
    """

    def __init__(self, servers: Mapping[str, Engine], patience: Patience) -> None:
        self._servers = [Server(name, engine) for name, engine in servers.items()]
        self._patience = patience
        self._expected = -1
        self._homes = Homes()
        self._probes: set[asyncio.Task[None]] = set()

    @property
    def engines(self) -> list[Engine]:
        """The servers themselves, for lockstep."""
        return [server.engine for server in self._servers]

    def expect(self, version: int) -> None:
        """Use no server from now on that serves weights older than `version`."""
        self._expected = version
        for server in self._servers:
            if not server.is_open:
                server.probe_at = 0.0

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `Engine.generate`; all go to one server, and to another one when it fails.

        Raises:
            PolicyError: no server was usable for as long as patience lasts; names each one's
                failure.
        """
        avoided: set[Server] = set()
        end = asyncio.get_running_loop().time() + self._patience.patience_s
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
        end = asyncio.get_running_loop().time() + self._patience.patience_s
        server = await self._choose(set(), end)
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
        return "; ".join(
            f"{server.name} {'open' if server.is_open else 'closed'}, version {server.version}"
            + (f", {server.last_failure}" if server.last_failure else "")
            for server in self._servers
        )

    async def _choose(self, avoided: set[Server], end: float, home: Server | None = None) -> Server:
        """`home`, or the least loaded usable server; who just failed this request comes last."""
        if (server := self._least_loaded(avoided)) is not None:
            self._probe_behind()
            if home is None or home in avoided or not self._is_usable(home):
                return server
            return server if home.num_running > 2 * server.num_running + CROWD else home
        left = max(end - asyncio.get_running_loop().time(), 0.001)
        try:
            async with waiting("an inference server to be usable", left):
                while True:
                    await self._look_again()
                    if (server := self._least_loaded(avoided)) is not None:
                        return server
                    # all that work have failed this request: a moment's pause, then anyone will do
                    await asyncio.sleep(self._patience.backoff_s)
                    avoided.clear()
        except Stalled as stalled:
            raise PolicyError(f"{stalled}: {self}") from stalled

    def _least_loaded(self, avoided: set[Server]) -> Server | None:
        usable = [s for s in self._servers if self._is_usable(s) and s not in avoided]
        return min(usable, key=lambda server: server.num_running, default=None)

    def _is_usable(self, server: Server) -> bool:
        return not server.is_open and server.version >= max(self._expected, 0)

    async def _look_again(self) -> None:
        """Probe who is not usable and may be probed; where nobody is, wait until somebody may."""
        doubtful = [server for server in self._servers if not self._is_usable(server)]
        if len(doubtful) == len(self._servers):
            soonest = min(server.probe_at for server in doubtful)
            await asyncio.sleep(max(soonest - asyncio.get_running_loop().time(), 0))
        await asyncio.gather(*(self._probe_if_due(server) for server in doubtful))

    def _probe_behind(self) -> None:
        """Probe who is not usable without keeping anybody waiting."""
        now = asyncio.get_running_loop().time()
        for server in self._servers:
            is_due = server.probe_at <= now and not server.probing.locked()
            if not self._is_usable(server) and is_due:
                task = asyncio.get_running_loop().create_task(self._probe_if_due(server))
                self._probes.add(task)
                task.add_done_callback(self._probes.discard)

    async def _probe_if_due(self, server: Server) -> None:
        async with server.probing:
            # somebody else may have probed it while this one waited for its turn
            if self._is_usable(server) or server.probe_at > asyncio.get_running_loop().time():
                return
            await self._probe(server)

    async def _probe(self, server: Server) -> None:
        """Half-open: ask for the version, and close the breaker when it is good."""
        try:
            async with waiting(f"{server.name} to say its version", PROBE_S):
                server.version = await server.engine.version()
        except (PolicyError, Stalled) as failure:
            self._failed(server, failure, is_grave=True)
            return
        server.last_failure = ""
        if server.version >= self._expected:
            server.is_open, server.failures = False, 0
        else:
            # it answers: ask again soon, and do not count it as a failure
            server.probe_at = asyncio.get_running_loop().time() + self._patience.backoff_s

    async def _ask(self, server: Server, requests: Sequence[Request]) -> list[Completion]:
        what = f"{len(requests)} completions of {server.name}"
        server.num_running += len(requests)
        try:
            async with waiting(what, self._patience.deadline_s):
                completions = await server.engine.generate(requests)
        except Stalled as stalled:
            # one that hangs holds up whatever it is given: do not wait for more of it
            server.is_open = True
            raise PolicyError(str(stalled)) from stalled
        finally:
            server.num_running -= len(requests)
        server.failures, server.last_failure = 0, ""
        return completions

    def _failed(self, server: Server, failure: Exception, is_grave: bool = False) -> None:
        """Count a failure; several in a row, or a grave one, open the breaker."""
        server.failures += 1
        server.last_failure = str(failure)
        if is_grave or server.is_open or server.failures >= self._patience.max_failures:
            over = max(server.failures - self._patience.max_failures, 0)
            pause = min(self._patience.backoff_s * 2.0**over, self._patience.backoff_max_s)
            server.is_open = True
            server.probe_at = asyncio.get_running_loop().time() + pause
