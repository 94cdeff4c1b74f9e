"""One inference server: an engine that is built when it is needed, and built again when it dies.

Plain Python that keeps the contract of `munro.rollout.engine.Engine`; `rollout/cluster` runs it as
a process of its own. A server that starts late, or again, loads the newest published weights
before it answers anything, so that nobody is served by an old policy.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
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
    Load,
    Request,
    Sharing,
    SleepingEngine,
    WeightSource,
)
from munro.rollout.fleet.types import Standing
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a server says of itself, at once and from any thread."""

    standing: Standing
    version: int
    """Of the weights that it has whole; -1 for none."""
    running: int
    """Requests under way."""
    is_asleep: bool
    pending_tokens: int
    """Sampled for requests that have not been answered."""
    load: Load | None
    """Of its engine, where that counts it."""
    why: str
    """It is not whole."""


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
        changed: called when it stands otherwise than before.
    """

    def __init__(
        self,
        build: Callable[[], SleepingEngine],
        weights: str | Path | None,
        *,
        catch_up: bool = False,
        deadline_s: float = 600.0,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._build = build
        self._changed = changed
        self._weights = weights
        self._catch_up = catch_up
        self._deadline_s = deadline_s
        self._engine: SleepingEngine | None = None
        self._building = asyncio.Lock()
        self._updating = asyncio.Lock()
        self._newest: WeightSource | None = None
        self._loaded: tuple[SleepingEngine, int] | None = None
        self._is_asleep = self._is_stale = self._is_closed = False
        self._served = -1
        self._running = self._answered = 0
        self._torn = self._retiring = self.unwell = ""
        self._alone = asyncio.Lock()
        """Held by its own trial request, which no other is computed with."""

    def told(self) -> Told:
        """How it stands."""
        engine = self._engine
        counts = getattr(engine, "load", None)
        load: Load | None = counts() if counts is not None else None
        if self._running == 0 and load is not None:
            self._answered = load.generated
        return Told(
            standing=self._standing(),
            version=-1 if engine is None or self._is_stale else self._served,
            running=self._running,
            is_asleep=self._is_asleep,
            pending_tokens=max(load.generated - self._answered, 0) if load is not None else 0,
            load=load,
            why=self._retiring or self._torn or self.unwell,
        )

    def _standing(self) -> Standing:
        if self._retiring:
            return Standing.RETIRING
        if self._engine is None:
            return Standing.STARTING
        if self._torn:
            return Standing.TORN
        if self._updating.locked() and not self._is_asleep:
            return Standing.LOADING
        return Standing.UNWELL if self.unwell else Standing.WHOLE

    def retire(self, why: str) -> None:
        """Take no more requests from now on: it will be started again."""
        self._retiring = why
        self._changed()

    async def try_itself(self) -> bool:
        """Sample one token, if nothing else runs; False where something does.

        Raises:
            PolicyError: the engine cannot.
        """
        engine = await self._newest_ready()
        if self._running or self._is_asleep or self._updating.locked() or self._alone.locked():
            return False
        async with self._alone:
            await engine.generate([Request(key=(0,), prompt_ids=[0], max_tokens=1, seed=0)])
        return True

    async def recover(self) -> None:
        """Get an engine where there is none, and the newest weights where an update of them failed.

        Raises:
            PolicyError: it cannot be had yet.
        """
        await self.version()
        if self._torn and self._newest is not None and self._weights is not None:
            await self.update_weights(self._newest, drain=True)

    @contextlib.asynccontextmanager
    async def _working(self, num_requests: int) -> AsyncIterator[SleepingEngine]:
        """An engine that serves, while so many requests are under way there."""
        engine = await self._newest_ready()
        async with self._alone:
            pass
        self._running += num_requests
        try:
            yield engine
        finally:
            self._running -= num_requests

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `Engine.generate`."""
        async with self._working(len(requests)) as engine:
            with waiting(f"{len(requests)} completions of its engine", self._deadline_s):
                done = await engine.generate(requests)
        self._answered += sum(len(completion.token_ids) for completion in done)
        return done

    async def score(self, token_ids: Sequence[int], *, base: bool = False) -> NDArray[np.float32]:
        """See `Engine.score`."""
        async with self._working(1) as engine:
            with waiting("scores of its engine", self._deadline_s):
                return await engine.score(token_ids, base=base)

    async def update_weights(self, source: WeightSource, *, drain: bool) -> None:
        """See `Engine.update_weights`.

        One that has fallen behind loads what is newest by then, and passes over the rest.
        """
        if self._newest is None or source.version >= self._newest.version:
            self._newest = source
        try:
            await self._update(source, drain=drain)
        finally:
            self._changed()

    async def _update(self, source: WeightSource, *, drain: bool) -> None:
        async with self._updating:
            engine, newest = await self._ready(), self._newest
            assert newest is not None
            loaded_by, version = self._loaded or (None, -1)
            if loaded_by is engine and version >= source.version and not self._is_asleep:
                return
            self._changed()
            try:
                with waiting(f"its engine to load version {newest.version}", self._deadline_s):
                    await engine.update_weights(newest, drain=drain)
            except BaseException as error:
                if self._engine is engine:
                    self._torn = f"the update to version {newest.version} stopped half-way: {error}"
                raise
            self._loaded, self._is_asleep = (engine, newest.version), False
            self._served, self._is_stale, self._torn = newest.version, False, ""

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
        """See `Engine.close`; whoever asks for something later finds it closed."""
        self._is_closed = True
        async with self._building:  # one that is being started is closed once it is up
            if self._engine is not None:
                await self._discard(self._engine)

    async def _ready(self) -> SleepingEngine:
        async with self._building:
            if self._is_closed:
                raise PolicyError("this server has been closed")
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
                self._torn = ""
                self._changed()
            return self._engine

    async def _newest_ready(self) -> SleepingEngine:
        if self._retiring:
            raise PolicyError(f"this server takes no more requests: {self._retiring}")
        engine = await self._ready()
        if self._torn:
            raise PolicyError(f"this server has no whole weights: {self._torn}")
        if self._is_stale:
            raise PolicyError(
                "this server was started again, and has no weights before the next update: "
                'sync.transport = "file" would have left it some'
            )
        return engine

    async def _load_newest(self, engine: SleepingEngine) -> None:
        self._is_stale = self._catch_up and self._weights is None
        source = latest(self._weights) if self._catch_up and self._weights is not None else None
        if source is not None:
            await engine.update_weights(source, drain=True)
        self._served = source.version if source is not None else 0

    async def _discard(self, engine: SleepingEngine) -> None:
        if self._engine is engine:
            self._engine = None
            self._changed()
        # it is being given up because it fails: that closing fails too is no news
        with contextlib.suppress(PolicyError):
            await engine.close()
