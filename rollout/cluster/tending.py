"""Looks after the servers while a climb goes on: who joins, who is replaced, who is missing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from munro.rollout.cluster.registry import RegistryHandle
from munro.rollout.engine import WeightSource
from munro.rollout.fleet.errors import TooFewServers
from munro.rollout.fleet.registry import LeaseClock
from munro.rollout.fleet.types import Listed, State, View
from munro.rollout.waits import Stalled

LOOK_S = 1.0
"""Between two looks."""
HUNG_S = 60.0
"""A server that has been gone for so long without dying is killed, so that Ray starts it again."""


class Tending:
    """A thread of the driver's.

    Args:
        registry: that knows the servers.
        actors: of all servers that there can be, by name.
        least: servers without which the climb cannot go on.
        min_live_s: how long it bears with fewer.
        newest: the weights that all are to serve, and whether running requests finish before they
            come; None where there are none yet, or an update is under way.
    """

    def __init__(
        self,
        registry: RegistryHandle,
        actors: Mapping[str, Any],
        *,
        least: int,
        min_live_s: float,
        newest: Callable[[], tuple[WeightSource, bool] | None],
    ) -> None:
        self._registry, self._actors = registry, actors
        self._least, self._min_live_s, self._newest = least, min_live_s, newest
        self._clock = LeaseClock()
        self._enough_at = 0.0
        self._gone_since: dict[tuple[str, int], float] = {}
        self._asked: set[tuple[str, int, int]] = set()
        self._failure: TooFewServers | None = None
        self._view: View | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="tending")

    def begin(self) -> None:
        """Look after them from now on; again changes nothing."""
        if self._thread.ident is None:
            self._thread.start()

    @property
    def view(self) -> View | None:
        """The latest; None before the first."""
        return self._view

    def require_enough(self) -> None:
        """There have not been too few for too long.

        Raises:
            TooFewServers: there have.
        """
        if self._failure is not None:
            raise self._failure

    def forgive(self) -> None:
        """All were started anew: the time begins anew, too."""
        self._enough_at, self._failure = self._clock.now, None

    def close(self) -> None:
        """Look no more."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._closing.wait(LOOK_S):
            newest = self._newest()
            try:
                view = self._registry.view(newest[0].version if newest else None)
            except (RayError, Stalled):
                continue  # it is being started again
            now = self._clock.look(time.monotonic())
            self._view = view
            if not view.is_young:
                self._count(view, now)
            for server in view.servers:
                self._tend(server, newest, now)

    def _count(self, view: View, now: float) -> None:
        """Note whether there are enough."""
        num = sum(server.state.has_weights for server in view.servers)
        if num >= self._least:
            self._enough_at = now
        elif now - self._enough_at > self._min_live_s:
            told = "; ".join(
                f"{one.name} {one.state}" + (f" ({one.why})" if one.why else "")
                for one in view.servers
            )
            what = f"{self._least} inference servers to serve (sync.min_servers), and {num} did"
            self._failure = TooFewServers("driver", f"{what}: {told}", now - self._enough_at)

    def _tend(self, server: Listed, newest: tuple[WeightSource, bool] | None, now: float) -> None:
        """Bring one that joined late the weights that it lacks; replace one that hangs."""
        which, actor = (server.name, server.incarnation), self._actors.get(server.name)
        if actor is None:
            return  # of an earlier process that had more of them
        if server.state is State.GONE:
            since = self._gone_since.setdefault(which, now)
            if now - since > HUNG_S:
                self._gone_since[which] = float("inf")
                ray.kill(actor, no_restart=False)
            return
        if newest is None or server.state is not State.CATCHING_UP:
            return
        source, drain = newest
        if (source.path or "host" in source.meeting) and server.version < source.version:
            told = (*which, source.version)
            if told not in self._asked:
                self._asked.add(told)
                actor.call.remote("update_weights", source, drain=drain)
