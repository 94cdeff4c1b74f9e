"""Inference servers as Ray actors, called as one by the driver and one by one by the workers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayActorError, RayError

from munro.rollout import waits
from munro.rollout.cluster.actors import (
    as_ours,
    calling,
    end,
    everywhere,
    mostly,
    pids_of,
    restart,
    start,
)
from munro.rollout.engine import Completion, Request, WeightSource
from munro.rollout.inference import InferenceServer, build_engine
from munro.rollout.setting import Setting


class _ServerActor:
    """An `InferenceServer` in a process of its own."""

    def __init__(self, name: str, setting: Setting) -> None:
        waits.publish(waits.here(setting.run), name)
        self._server = InferenceServer(
            lambda: build_engine(
                setting.model,
                setting.rollout,
                seed=setting.seed,
                max_context=setting.max_context,
                sharing=setting.sharing,
                adapters=setting.adapters,
            ),
            setting.weights if setting.sharing.transfer == "file" else None,
            catch_up=ray.get_runtime_context().was_current_actor_reconstructed,
            deadline_s=setting.rollout.generate_deadline_s,
        )

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await getattr(self._server, method)(*args, **kwargs)

    async def pid(self) -> int:
        return os.getpid()


class ServerHandle:
    """Makes a server's actor look like an `Engine`, from within an event loop.

    Raises:
        PolicyError: the server said so, or its process died or cannot be reached.
    """

    def __init__(self, name: str, actor: Any) -> None:
        self.name = name
        self._actor = actor

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `Engine.generate`."""
        return list(await self._call("generate", list(requests)))

    async def score(self, token_ids: Sequence[int], *, base: bool = False) -> NDArray[np.float32]:
        """See `Engine.score`."""
        return np.asarray(await self._call("score", list(token_ids), base=base))

    async def update_weights(self, source: WeightSource, *, drain: bool) -> None:
        """See `Engine.update_weights`."""
        await self._call("update_weights", source, drain=drain)

    async def sleep(self, *, level: int) -> None:
        """See `SleepingEngine.sleep`."""
        await self._call("sleep", level=level)

    async def wake(self) -> None:
        """See `SleepingEngine.wake`."""
        await self._call("wake")

    async def version(self) -> int:
        """See `Engine.version`."""
        return int(await self._call("version"))

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._call("close")

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        reference = self._actor.call.remote(method, *args, **kwargs)
        try:
            return await reference
        except asyncio.CancelledError:
            ray.cancel(reference)
            raise
        except RayError as error:
            raise as_ours(self.name, error) from error


class Servers:
    """All inference servers, called as one from the driver. Needs a running Ray."""

    def __init__(self, setting: Setting, *, least: int = 0) -> None:
        """
        Args:
            setting: of the run.
            least: servers that must take new weights in time; 0 for all of them.
        """
        self.version = 0
        """Of the weights that all of them serve but those set aside."""
        self.aside: dict[str, str] = {}
        """Servers that did not take these weights, or did not prove it, in time, and what they
        were waited for: they are asked for nothing until they take an update in time again."""
        self._least = min(least or setting.rollout.servers, setting.rollout.servers)
        self.asleep = False
        """They gave their GPUs' memory up: nothing can be sampled."""
        self._workers = setting.rollout.tensor_parallel
        num_gpus = 0.0
        if ray.cluster_resources().get("GPU"):
            num_gpus = setting.rollout.tensor_parallel * setting.gpu_share
        # workers look servers up by name: a handle among an actor's arguments could not be had
        # again when the actor restarts
        several = setting.lasting or uuid4().hex
        self.known_as = {
            name: f"{several}/{name}"
            for name in (f"server-{i}" for i in range(setting.rollout.servers))
        }
        self.actors: dict[str, Any] = {
            name: start(_ServerActor, at, name, num_gpus, setting, known_as=known)
            for (name, known), at in zip(self.known_as.items(), _each(setting), strict=True)
        }
        # engines come up while others do; who waits for them hears of failures
        self._starting = {name: actor.call.remote("version") for name, actor in self.actors.items()}

    def wait_ready(self, deadline_s: float) -> None:
        """Wait until all of them serve.

        Raises:
            PolicyError: one says that it cannot serve; what it needs is said too.
            Stalled: one does not come up.
        """
        # the first answer counts: asked again, a server that cannot serve would start once more
        first, self._starting = self._starting, {}
        told = everywhere(
            "start", self.actors, calling("version"), deadline_s, (RayActorError,), first
        )
        self.version = max(told.values())

    def restart(self, deadline_s: float) -> None:
        """Start all of them anew; each loads the newest published weights before it serves.

        Raises:
            Stalled: one does not come up.
        """
        restart(self.actors)
        everywhere("start", self.actors, calling("version"), deadline_s)
        self.aside = {}

    def update_weights(self, source: WeightSource, *, drain: bool, deadline_s: float) -> None:
        """Load the weights everywhere; a server that dies meanwhile is waited for.

        Whoever is late is set aside, and goes on loading: it is back once it takes an update in
        time.

        Raises:
            Stalled: fewer got there than must.
        """
        what = f"weights of version {source.version} to be loaded"
        sources = {
            id(actor): self._met_by(place, source)
            for place, actor in enumerate(self.actors.values())
        }

        def load(actor: Any) -> Any:
            return actor.call.remote("update_weights", sources[id(actor)], drain=drain)

        _, self.aside = mostly(
            what, self.actors, load, deadline_s, least=self._least, slow=self.aside
        )
        self.version, self.asleep = source.version, False

    def _met_by(self, place: int, source: WeightSource) -> WeightSource:
        """What the server at that place is told: each has a rank where it meets the learner."""
        if "rank_offset" not in source.meeting:
            return source
        first = source.meeting["rank_offset"] + place * self._workers
        return replace(source, meeting={**source.meeting, "rank_offset": first})

    def sleep(self, deadline_s: float, *, level: int) -> None:
        """Have all of them give their GPUs' memory up; see `SleepingEngine.sleep`.

        Raises:
            Stalled: one did not in time.
        """
        if not self.asleep:
            everywhere("sleep", self.actors, calling("sleep", level=level), deadline_s)
            self.asleep = True

    def wake(self, deadline_s: float) -> None:
        """Have those that sleep take it back; see `SleepingEngine.wake`.

        Raises:
            Stalled: one did not in time.
        """
        if self.asleep:
            everywhere("wake", self.actors, calling("wake"), deadline_s)
            self.asleep = False

    def rooms(self, deadline_s: float) -> list[int | None]:
        """Tokens of keys and values that each has room for; see `SleepingEngine.room`.

        Raises:
            Stalled: one does not answer in time.
        """
        return list(everywhere("room", self.actors, calling("room"), deadline_s).values())

    def score_each(
        self, streams: Sequence[Sequence[int]], deadline_s: float, *, base: bool = False
    ) -> dict[str, list[NDArray[np.float32]]]:
        """Log-probability of each token of each stream, from every server that is not aside.

        With `base`, without the adapter that they serve.

        Raises:
            Stalled: fewer answered than must.
        """
        scored: dict[str, list[NDArray[np.float32]]] = {n: [] for n in self._asked()}
        for stream in streams:
            score = calling("score", list(stream), base=base)
            answers, late = mostly("scores", self._asked(), score, deadline_s, least=self._least)
            self.aside = {**self.aside, **late}
            for name, scores in answers.items():
                scored[name].append(scores)
        return {name: scores for name, scores in scored.items() if name not in self.aside}

    def _asked(self) -> dict[str, Any]:
        return {name: actor for name, actor in self.actors.items() if name not in self.aside}

    def pids(self) -> list[int]:
        """See `pids_of`."""
        return pids_of(self.actors)

    def close(self, deadline_s: float = 30.0) -> None:
        """End all servers, and their engines' processes."""
        end(self.actors, calling("close"), deadline_s)


def _each(setting: Setting) -> list[Setting]:
    """The setting for each server, with its own place."""
    if not setting.server_placement:
        return [setting] * setting.rollout.servers
    return [replace(setting, placement=place) for place in setting.server_placement]
