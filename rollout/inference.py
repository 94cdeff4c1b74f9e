"""One inference server: an engine that is built when it is needed, and built again when it dies.

Plain Python that keeps the contract of `munro.rollout.engine.Engine`; `rollout/cluster.py` runs it
as a process of its own. A server that starts late, or again, loads the newest published weights
before it answers anything, so that nobody is served by an old policy.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from munro.rewards.errors import PolicyError
from munro.rollout.adapters import Adapters
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import (
    ALONE,
    ENGINES,
    Completion,
    Request,
    Sharing,
    SleepingEngine,
    WeightSource,
)
from munro.rollout.waits import waiting
from munro.rollout.weights import latest


def build_engine(
    model: str,
    config: RolloutConfig,
    *,
    seed: int,
    max_context: int,
    sharing: Sharing = ALONE,
    adapters: Adapters | None = None,
) -> SleepingEngine:
    """The engine that `rollout.engine` names; blocks while it starts.

    Args:
        model: folder of a whole model.
        config: which engine, and how it samples.
        seed: of anything not seeded by a request.
        max_context: longest token stream.
        sharing: how it stands to the learner.
        adapters: to serve, where updates are adapters and not whole weights.

    Raises:
        BadPlugin: `rollout.engine` names none.
        PolicyError: it does not come up; says why.
    """
    start = ENGINES.find(config.engine)
    engine: SleepingEngine = start(
        model, config, seed=seed, max_context=max_context, sharing=sharing, adapters=adapters
    )
    return engine


class InferenceServer:
    """Keeps the contract of `munro.rollout.engine.Engine`.

    Args:
        build: starts an engine; called again after the engine died.
        weights: folder in which new weights are published; None where they do not come in files,
            so that a server which replaces a dead one serves nothing before the next update.
        catch_up: load the newest published weights at the first start too: for a server that
            replaces a dead one. A run's first servers must not, lest they find the weights that an
            earlier, interrupted run left there.
        deadline_s: what a person who asks is told that any of its work may take; whoever waits for
            it holds it to that.
    """

    def __init__(
        self,
        build: Callable[[], SleepingEngine],
        weights: str | Path | None,
        *,
        catch_up: bool = False,
        deadline_s: float = 600.0,
    ) -> None:
        self._build = build
        self._weights = weights
        self._catch_up = catch_up
        self._deadline_s = deadline_s
        self._engine: SleepingEngine | None = None
        self._building = asyncio.Lock()
        self._updating = asyncio.Lock()
        self._newest: WeightSource | None = None
        self._loaded: tuple[SleepingEngine, int] | None = None
        self._is_asleep = self._is_stale = False

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `Engine.generate`."""
        engine = await self._newest_ready()
        with waiting(f"{len(requests)} completions of its engine", self._deadline_s):
            return await engine.generate(requests)

    async def score(self, token_ids: Sequence[int], *, base: bool = False) -> NDArray[np.float32]:
        """See `Engine.score`."""
        engine = await self._newest_ready()
        with waiting("scores of its engine", self._deadline_s):
            return await engine.score(token_ids, base=base)

    async def update_weights(self, source: WeightSource, *, drain: bool) -> None:
        """See `Engine.update_weights`.

        One that has fallen behind loads what is newest by then, and passes over the rest.
        """
        if self._newest is None or source.version >= self._newest.version:
            self._newest = source
        async with self._updating:
            engine, newest = await self._ready(), self._newest
            assert newest is not None
            loaded_by, version = self._loaded or (None, -1)
            if loaded_by is engine and version >= source.version and not self._is_asleep:
                return
            with waiting(f"its engine to load version {newest.version}", self._deadline_s):
                await engine.update_weights(newest, drain=drain)
            self._loaded, self._is_asleep = (engine, newest.version), False
            self._is_stale = False

    async def sleep(self, *, level: int) -> None:
        """See `SleepingEngine.sleep`."""
        async with self._updating:
            engine = await self._ready()
            with waiting("its engine to fall asleep", self._deadline_s):
                await engine.sleep(level=level)
            self._is_asleep = True

    async def wake(self) -> None:
        """See `SleepingEngine.wake`; one that was built meanwhile is awake."""
        async with self._updating:
            engine = await self._ready()
            with waiting("its engine to wake", self._deadline_s):
                await engine.wake()
            self._is_asleep = False

    async def room(self) -> int | None:
        """See `SleepingEngine.room`; None of an engine of one's own that does not say."""
        asked = getattr(await self._ready(), "room", None)
        return None if asked is None else await asked()

    async def version(self) -> int:
        """See `Engine.version`; an engine that does not answer is replaced by the next call."""
        engine = await self._ready()
        try:
            with waiting("its engine to say its version", self._deadline_s):
                return await engine.version()
        except PolicyError:
            await self._discard(engine)
            raise

    async def close(self) -> None:
        """See `Engine.close`."""
        if self._engine is not None:
            await self._discard(self._engine)

    async def _ready(self) -> SleepingEngine:
        async with self._building:
            if self._engine is None:
                # this blocks the event loop, which has nothing else to do without an engine
                with waiting("its engine to start", self._deadline_s):
                    engine = self._build()
                try:
                    await self._load_newest(engine)
                except BaseException:
                    await engine.close()
                    raise
                self._engine, self._catch_up = engine, True
            return self._engine

    async def _newest_ready(self) -> SleepingEngine:
        engine = await self._ready()
        if self._is_stale:
            raise PolicyError(
                "this server was started again, and has no weights before the next update: "
                'sync.transfer = "file" would have left it some'
            )
        return engine

    async def _load_newest(self, engine: SleepingEngine) -> None:
        self._is_stale = self._catch_up and self._weights is None
        source = latest(self._weights) if self._catch_up and self._weights is not None else None
        if source is not None:
            await engine.update_weights(source, drain=True)

    async def _discard(self, engine: SleepingEngine) -> None:
        if self._engine is engine:
            self._engine = None
        # it is being given up because it fails: that closing fails too is no news
        with contextlib.suppress(PolicyError):
            await engine.close()
