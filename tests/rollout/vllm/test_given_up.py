"""A call that is given up leaves nothing running, at whatever moment."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from munro.rollout.vllm.adapters import Served
from munro.rollout.vllm.engine import VllmEngine

pytestmark = pytest.mark.filterwarnings(
    # vLLM's and its dependencies' own, met while they are imported
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::UserWarning",
)


class Core:
    """The engine process's side of `_start`, held up at one of its moments."""

    def __init__(self, held_at: str) -> None:
        self.held_at, self.reached = held_at, asyncio.Event()
        self.taken: list[str] = []
        self.gone: list[str] = []

    async def at(self, moment: str) -> None:
        if moment == self.held_at:
            self.reached.set()
            await asyncio.Event().wait()

    async def pause_scheduler_async(self, mode: str, clear: bool) -> None:
        await self.at("pause")

    async def resume_scheduler_async(self) -> None:
        await self.at("resume")

    async def add_request(
        self, name: str, prompt: Any, how: Any, *, lora_request: Any
    ) -> SimpleNamespace:
        if len(self.taken) == 1:
            await self.at("second request")
        self.taken.append(name)
        return SimpleNamespace(request_id=name)

    async def abort(self, names: list[str], *, internal: bool) -> None:
        self.gone += names


def engine_on(core: Core) -> VllmEngine:
    """The engine without its process: what `_start` and its undoing look at."""
    engine = object.__new__(VllmEngine)
    engine._names = itertools.count()
    engine._num_running, engine._is_closed = 0, False
    engine._idle = asyncio.Event()
    engine._idle.set()
    engine._llm = SimpleNamespace(
        errored=False, add_request=core.add_request, abort=core.abort, engine_core=core
    )
    return engine


@pytest.mark.vllm
@pytest.mark.parametrize("moment", ["pause", "second request", "resume"])
async def test_whenever_it_is_given_up_its_requests_are_taken_back(moment: str) -> None:
    core = Core(moment)
    engine = engine_on(core)
    starting = asyncio.create_task(engine._start([[1], [2], [3]], [None] * 3, Served()))
    await core.reached.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert core.gone == core.taken
    assert engine._num_running == 0
    assert engine._idle.is_set()
