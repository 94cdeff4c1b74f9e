"""One inference server as a Ray actor, and its handle, which looks like an `Engine`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError

from munro.rollout import waits
from munro.rollout.cluster.actors import as_ours
from munro.rollout.cluster.pulse import Pulse
from munro.rollout.cluster.registry import RemoteLine
from munro.rollout.engine import Completion, Request, WeightSource
from munro.rollout.fleet.layout import layout_of
from munro.rollout.inference import InferenceServer, build_engine
from munro.rollout.setting import Setting

AGAIN = 75
"""Exit status of a server that wants Ray to start it again."""


class _ServerActor:
    """An `InferenceServer` in a process of its own."""

    def __init__(
        self, name: str, setting: Setting, address: str, registry: str, is_late: bool
    ) -> None:
        waits.publish(waits.here(setting.run), name)
        # of a run's first servers none may find what an earlier, interrupted run left behind
        is_late = is_late or ray.get_runtime_context().was_current_actor_reconstructed
        self._pulse = Pulse(
            name,
            RemoteLine(registry, name, address),
            layout_of(setting.model, setting.rollout),
            most_gb=setting.rollout.max_server_gb,
            is_late=is_late,
            end=lambda: os._exit(AGAIN),
        )
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
            catch_up=is_late,
            deadline_s=setting.rollout.generate_deadline_s,
            changed=self._pulse.changed,
        )
        self._pulse.begin(self._server)
        # what the pulse asks of the server runs in the loop of its calls: one tells which that is
        ray.get_runtime_context().current_actor.pid.remote()

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await getattr(self._server, method)(*args, **kwargs)

    async def pid(self) -> int:
        self._pulse.lives_in(asyncio.get_running_loop())
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
