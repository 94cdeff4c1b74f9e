"""Inference servers as Ray actors, called as one by the driver and one by one by the workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayActorError

from munro.rollout import waits
from munro.rollout.cluster.actors import (
    calling,
    end,
    everywhere,
    mostly,
    pids_of,
    restart,
    start,
)
from munro.rollout.cluster.registry import RegistryHandle
from munro.rollout.cluster.server import _ServerActor
from munro.rollout.cluster.tending import Tending
from munro.rollout.engine import WeightSource
from munro.rollout.fleet.errors import TooFewServers
from munro.rollout.fleet.layout import layout_of
from munro.rollout.fleet.types import Listed, Roster, State
from munro.rollout.setting import Setting
from munro.rollout.transfer.relay import addressed
from munro.rollout.waits import Stalled

ANSWER_S = 60.0
"""Longest wait for the registry, which has nothing to do but answer."""
JOIN_S = 0.05
"""Between two looks whether the first servers have joined."""


class Servers:
    """All inference servers, called as one from the driver. Needs a running Ray."""

    def __init__(
        self,
        setting: Setting,
        *,
        least: int = 0,
        waits_for_dead: bool = True,
        min_live_s: float = math.inf,
    ) -> None:
        """
        Args:
            setting: of the run.
            least: servers that must take new weights in time; 0 for all of them.
            waits_for_dead: whether an update waits for servers whose process died, which on-policy
                waves want, for with fewer they would be split otherwise. Else they catch up later.
            min_live_s: how long fewer than `least` may serve.
        """
        self.version = 0
        """Of the weights that all of them serve but those set aside."""
        self.aside: dict[str, str] = {}
        """Servers that did not take these weights, or did not prove it, in time, and what they
        were waited for: they are asked for nothing until they take an update in time again."""
        self._first_ones = setting.rollout.servers
        self._least = min(least or self._first_ones, self._first_ones)
        self._waits_for_dead = waits_for_dead
        self.asleep = False
        """They gave their GPUs' memory up: nothing can be sampled."""
        self._workers, self._sharing = setting.rollout.tensor_parallel, setting.sharing
        self._start(setting)
        self._took = tuple(self.actors)[: self._first_ones]
        """Servers that take part in what is done in step: those that took the last update."""
        self._newest: tuple[WeightSource, bool] | None = None
        self._lost_tokens = 0
        self._tending = Tending(
            self._registry,
            self.actors,
            least=self._least,
            min_live_s=min_live_s,
            newest=lambda: self._newest,
        )

    def _start(self, setting: Setting) -> None:
        """Start the registry and all servers; those beyond the first come up where room is."""
        first, most = self._first_ones, max(self._first_ones, setting.rollout.max_servers)
        # workers look servers up by name: a handle among an actor's arguments could not be had
        # again when the actor restarts
        several = setting.lasting or uuid4().hex
        self.known_as = {name: f"{several}/{name}" for name in (f"server-{i}" for i in range(most))}
        layout, self.registry = layout_of(setting.model, setting.rollout), f"{several}/registry"
        self._registry = RegistryHandle(setting, self.registry, layout, ANSWER_S)
        on_gpus = bool(ray.cluster_resources().get("GPU"))
        num_gpus = setting.rollout.tensor_parallel * setting.gpu_share if on_gpus else 0.0
        self.actors: dict[str, Any] = {}
        for place, (name, known) in enumerate(self.known_as.items()):
            is_late = place >= first
            # Ray keeps these waiting for a free GPU, or without any a free CPU, of whatever node
            places = ["SPREAD"] if is_late else setting.server_placement[place : place + 1]
            where = replace(setting, placement=places[0]) if places else setting
            self.actors[name] = start(
                _ServerActor,
                where,
                name,
                num_gpus,
                setting,
                known,
                self.registry,
                is_late,
                known_as=known,
                num_cpus=1 if is_late and not on_gpus else 0,
            )
        # engines come up while others do; who waits for them hears of failures
        self._starting = {
            name: self.actors[name].call.remote("version") for name in tuple(self.actors)[:first]
        }

    def wait_ready(self, deadline_s: float) -> None:
        """Wait until all of them serve.

        Raises:
            PolicyError: one says that it cannot serve; what it needs is said too.
            Stalled: one does not come up.
        """
        # the first answer counts: asked again, a server that cannot serve would start once more
        first, self._starting = self._starting, {}
        ones = self._first()
        versions = everywhere(
            "start", ones, calling("version"), deadline_s, (RayActorError,), first
        )
        self._wait_for_joining(deadline_s)
        self._tending.begin()
        # where they were there already, some may be about to load what is newer still
        self.version = max([*versions.values(), self._registry.view(0).version])

    def restart(self, deadline_s: float) -> None:
        """Start all of them anew; each gets the newest weights before it serves.

        Raises:
            Stalled: one does not come up.
        """
        restart(self._placed())
        everywhere("start", self._first(), calling("version"), deadline_s)
        self._wait_for_joining(deadline_s)
        self._took, self.aside = tuple(self._first()), {}
        self._tending.forgive()

    def _first(self) -> dict[str, Any]:
        """Those that a run begins with."""
        return {name: self.actors[name] for name in tuple(self.actors)[: self._first_ones]}

    def _wait_for_joining(self, deadline_s: float) -> None:
        with waits.waiting("the servers to join", deadline_s) as wait:
            while set(self._first()) - {one.name for one in self._live()}:
                if not wait.remaining:
                    raise TimeoutError
                time.sleep(JOIN_S)

    def _live(self) -> list[Listed]:
        return [one for one in self._registry.view(self.version).servers if one.state.has_weights]

    def _frozen(self, version: int, deadline_s: float, meanwhile: Callable[[], None]) -> Roster:
        """Who takes part in an update; where they are fewer than must, once others have joined."""
        try:
            with waits.waiting("servers to load new weights", deadline_s) as wait:
                while len(self._asked(roster := self._registry.freeze(version))) < self._least:
                    if not wait.remaining:
                        raise TimeoutError
                    meanwhile()
                    self.require_enough()
                    time.sleep(JOIN_S)
                return roster
        except Stalled as stalled:
            raise TooFewServers(stalled.who, stalled.what, stalled.seconds) from stalled

    def update_weights(
        self,
        source: WeightSource,
        *,
        drain: bool,
        deadline_s: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Load the weights on all servers of the roster.

        Whoever is late is set aside, and goes on loading: it is back once it takes an update in
        time. Whoever joins meanwhile, or died, gets these weights later and is not waited for.
        `meanwhile` is called now and then; what it raises ends the wait.

        Raises:
            TooFewServers: fewer got there than must, or were there at all.
        """
        what = f"weights of version {source.version} to be loaded"
        self._newest = None
        # made anew for each attempt: whoever was down at the last one may be back
        roster = self._frozen(source.version, deadline_s, meanwhile)
        asked = self._asked(roster)
        told = self._told(asked, source)
        sources = {id(self.actors[name]): told[name] for name in asked}

        def load(actor: Any) -> Any:
            return actor.call.remote("update_weights", sources[id(actor)], drain=drain)

        actors = {name: self.actors[name] for name in asked}
        took, late = self._mostly(
            what, actors, load, deadline_s, slow=self.aside, meanwhile=meanwhile
        )
        self._registry.closed(roster, tuple(took))
        self._took, self.aside = tuple(name for name in asked if name in took), late
        self.version, self.asleep = source.version, False
        self._newest = (source, drain)

    def _asked(self, roster: Roster) -> list[str]:
        waited_for = tuple(self.actors)[: self._first_ones] if self._waits_for_dead else ()
        return [name for name in self.actors if name in roster.members or name in waited_for]

    def _mostly(
        self,
        what: str,
        actors: Mapping[str, Any],
        call: Callable[[Any], Any],
        deadline_s: float,
        slow: Collection[str] = (),
        meanwhile: Callable[[], None] = lambda: None,
    ) -> tuple[dict[str, Any], dict[str, str]]:
        try:
            return mostly(
                what,
                actors,
                call,
                deadline_s,
                least=self._least,
                slow=slow,
                waits_for_dead=self._waits_for_dead,
                meanwhile=meanwhile,
            )
        except Stalled as stalled:
            raise TooFewServers(stalled.who, stalled.what, stalled.seconds) from stalled

    def require_enough(self) -> None:
        """There have not been too few servers for too long.

        Raises:
            TooFewServers: there have.
        """
        self._tending.require_enough()

    def metrics(self) -> dict[str, float]:
        """What became of servers since the last call; nothing where nothing did."""
        view, found = self._tending.view, {}
        if view is not None and view.lost_tokens > self._lost_tokens:
            found["rollout/lost_tokens"] = float(view.lost_tokens - self._lost_tokens)
        if view is not None and len(self.actors) > self._first_ones:
            found["rollout/servers"] = float(view.count(State.SERVING))
        self._lost_tokens = view.lost_tokens if view is not None else 0
        return found

    def _told(self, names: Sequence[str], source: WeightSource) -> dict[str, WeightSource]:
        """What each server is told of an update."""
        if "host" in source.meeting:  # nobody is to depend on one that was late
            by_trust = sorted(names, key=lambda name: name in self.aside)
            how = self._sharing
            return addressed(source, by_trust, slices=how.slices, relay=how.relay)
        if "rank_offset" not in source.meeting:
            return dict.fromkeys(names, source)
        # each has a rank where it meets the learner
        first = source.meeting["rank_offset"]
        return {
            name: replace(
                source, meeting={**source.meeting, "rank_offset": first + place * self._workers}
            )
            for place, name in enumerate(names)
        }

    def sleep(self, deadline_s: float, *, level: int) -> None:
        """Have all of them give their GPUs' memory up; see `SleepingEngine.sleep`.

        Raises:
            Stalled: one did not in time.
        """
        if not self.asleep:
            everywhere("sleep", self.in_use, calling("sleep", level=level), deadline_s)
            self.asleep = True

    def wake(self, deadline_s: float) -> None:
        """Have those that sleep take it back; see `SleepingEngine.wake`.

        Raises:
            Stalled: one did not in time.
        """
        if self.asleep:
            everywhere("wake", self.in_use, calling("wake"), deadline_s)
            self.asleep = False

    def rooms(self, deadline_s: float) -> list[int | None]:
        """Tokens of keys and values that each has room for; see `SleepingEngine.room`.

        Raises:
            Stalled: one does not answer in time.
        """
        return list(everywhere("room", self.in_use, calling("room"), deadline_s).values())

    def score_each(
        self, streams: Sequence[Sequence[int]], deadline_s: float, *, base: bool = False
    ) -> dict[str, list[NDArray[np.float32]]]:
        """Log-probability of each token of each stream, from every server that is not aside.

        With `base`, without the adapter that they serve.

        Raises:
            Stalled: fewer answered than must.
        """
        scored: dict[str, list[NDArray[np.float32]]] = {name: [] for name in self.in_use}
        for stream in streams:
            score = calling("score", list(stream), base=base)
            answers, late = self._mostly("scores", self.in_use, score, deadline_s)
            self.aside = {**self.aside, **late}
            for name, scores in answers.items():
                scored[name].append(scores)
        return {name: scores for name, scores in scored.items() if name not in self.aside}

    @property
    def in_use(self) -> dict[str, Any]:
        """The actors of those that took the last update, and are not aside."""
        return {name: self.actors[name] for name in self._took if name not in self.aside}

    def pids(self) -> list[int]:
        """See `pids_of`."""
        return pids_of(self._placed())

    def _placed(self) -> dict[str, Any]:
        """All actors but those that wait for room on some node."""
        view = self._tending.view
        there = {one.name for one in view.servers} if view is not None else set()
        first = tuple(self.actors)[: self._first_ones]
        return {name: one for name, one in self.actors.items() if name in there or name in first}

    def close(self, deadline_s: float = 30.0) -> None:
        """End all servers, and their engines' processes."""
        self._tending.close()
        placed = self._placed()
        end(placed, calling("close"), deadline_s)
        end({n: one for n, one in self.actors.items() if n not in placed}, None, 0)
        self._registry.close()
