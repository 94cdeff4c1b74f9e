"""The registry of a run's servers as an actor, and how it is asked."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError

from munro.rewards.errors import PolicyError
from munro.rollout.cluster.actors import first_line, start
from munro.rollout.engine import Engine
from munro.rollout.fleet.registry import Registry
from munro.rollout.fleet.types import Beat, Listed, Roster, View
from munro.rollout.setting import Setting
from munro.rollout.waits import waiting

HEARD_S = 5.0
"""Longest wait of a server for the registry to hear it."""
AGAIN_S = 1.0
"""Between two calls of a registry that begins again; by then its servers have joined it anew."""


class _RegistryActor:
    """A `Registry` in a process of its own; its clock is this process's monotonic one."""

    def __init__(self, _: str, layout: str) -> None:
        self._registry = Registry(layout=layout)

    async def join(self, name: str, address: str, token: str, had: int) -> int | None:
        return self._registry.join(name, address, token=token, now=time.monotonic(), had=had)

    async def beat(self, beat: Beat) -> bool:
        return self._registry.beat(beat, now=time.monotonic())

    async def leave(self, name: str, incarnation: int) -> None:
        self._registry.leave(name, incarnation, now=time.monotonic())

    async def caught(self, name: str, incarnation: int, why: str) -> None:
        self._registry.caught(name, incarnation, why, now=time.monotonic())

    async def freeze(self, version: int) -> Roster:
        return self._registry.freeze(version, now=time.monotonic())

    async def closed(self, roster: Roster, took: Collection[str]) -> None:
        self._registry.closed(roster, took, now=time.monotonic())

    async def view(self, router: str = "", served: int | None = None) -> View:
        if served is not None:
            self._registry.served(served)
        return self._registry.view(now=time.monotonic(), router=router)


class RegistryHandle:
    """The registry, as the driver calls it."""

    def __init__(self, setting: Setting, known_as: str, layout: str, deadline_s: float) -> None:
        """Start it; it lives as long as the driver does.

        Args:
            setting: of the run.
            known_as: name of its actor.
            layout: see `Registry`.
            deadline_s: longest wait for an answer: it has nothing to do but answer.
        """
        self.known_as, self._deadline_s = known_as, deadline_s
        self._actor = start(_RegistryActor, setting, "registry", 0, layout, known_as=known_as)

    def view(self, served: int | None) -> View:
        """All servers; `served` is the version that a quorum has, where no update is under way."""
        view: View = self._get("the registry's view", "view", "", served)
        return view

    def freeze(self, version: int) -> Roster:
        """See `Registry.freeze`."""
        roster: Roster = self._get("a roster", "freeze", version)
        return roster

    def closed(self, roster: Roster, took: Collection[str]) -> None:
        """See `Registry.closed`."""
        self._get("a roster to be closed", "closed", roster, list(took))

    def close(self) -> None:
        """End it."""
        ray.kill(self._actor, no_restart=True)

    def _get(self, what: str, method: str, *words: Any) -> Any:
        with waiting(what, self._deadline_s) as wait:
            while True:
                try:
                    reference = getattr(self._actor, method).remote(*words)
                    return ray.get(reference, timeout=wait.remaining)
                except ActorUnavailableError as error:
                    # it lay on a node that was lost, and is on its way to another
                    if not wait.remaining:
                        raise TimeoutError from error
                time.sleep(AGAIN_S)


class RemoteDirectory:
    """The registry, as a router asks it. Implements `munro.rollout.router.Directory`.

    Args:
        known_as: name of its actor.
        router: of who asks.
        engines: of all servers that there can be, by name.
    """

    def __init__(self, known_as: str, router: str, engines: Mapping[str, Engine]) -> None:
        self._actor = ray.get_actor(known_as)
        self._router, self._engines = router, engines

    async def view(self) -> View:
        """See `Directory.view`."""
        try:
            view: View = await self._actor.view.remote(self._router)
        except RayError as error:
            raise PolicyError(f"the servers' registry: {first_line(error)}") from error
        return view

    async def caught(self, listed: Listed, why: str) -> None:
        """See `Directory.caught`; where nobody hears it, the router that found it knows."""
        self._actor.caught.remote(listed.name, listed.incarnation, why)

    def engine(self, listed: Listed) -> Engine:
        """See `Directory.engine`."""
        return self._engines[listed.name]


class RemoteLine:
    """The registry, as a server tells it. Implements `munro.rollout.cluster.pulse.Line`.

    Args:
        known_as: name of the registry's actor.
        name: of the server.
        address: name of its actor.
    """

    def __init__(self, known_as: str, name: str, address: str) -> None:
        self._known_as, self._name, self._address = known_as, name, address
        self._actor: Any = None

    def join(self, token: str, had: int) -> int | None:
        """See `Line.join`."""
        given: int | None = self._say("join", self._name, self._address, token, had)
        return given

    def beat(self, beat: Beat) -> bool:
        """See `Line.beat`."""
        return bool(self._say("beat", beat))

    def leave(self, incarnation: int) -> None:
        """See `Line.leave`."""
        self._say("leave", self._name, incarnation)

    def _say(self, what: str, *words: Any) -> Any:
        try:
            if self._actor is None:
                self._actor = ray.get_actor(self._known_as)
            return ray.get(getattr(self._actor, what).remote(*words), timeout=HEARD_S)
        except (RayError, ValueError) as error:  # a name that nobody has is a ValueError
            self._actor = None
            raise PolicyError(f"the servers' registry: {first_line(error)}") from error
