"""What a server says of itself is so: while it loads, is torn, tries itself or retires."""

from __future__ import annotations

import asyncio

import pytest

from munro.rewards.errors import PolicyError
from munro.rollout.engine import Load, Request, WeightSource
from munro.rollout.fleet.types import Standing
from munro.rollout.inference import InferenceServer
from tests.rollout.builders import ScriptedEngine

ASKED = Request(key=(0,), prompt_ids=[1], max_tokens=3, seed=0, stop_token_ids=(2,))


class Gated(ScriptedEngine):
    """Works when it is let, and counts."""

    def __init__(self):
        super().__init__(lambda r: [7, 7, 2])
        self.gate, self.counted, self.is_bad = asyncio.Event(), 0, False
        self.gate.set()

    async def generate(self, requests):
        await self.gate.wait()
        self.counted += sum(min(3, one.max_tokens) for one in requests)
        return await super().generate(requests)

    async def update_weights(self, source, *, drain):
        await self.gate.wait()
        if self.is_bad:
            raise PolicyError("half a file")
        await super().update_weights(source, drain=drain)

    def load(self):
        return Load(generated=self.counted)


@pytest.fixture
def engine():
    return Gated()


@pytest.fixture
def said():
    return []


@pytest.fixture
def server(engine, said, tmp_path):
    one = InferenceServer(lambda: engine, tmp_path, changed=lambda: said.append(one.told()))
    return one


def update(version):
    return WeightSource(path="w", version=version)


async def test_it_starts_loads_and_is_whole(server, engine, said):
    assert (server.told().standing, server.told().version) == (Standing.STARTING, -1)
    await server.version()
    assert (server.told().standing, server.told().version) == (Standing.WHOLE, 0)
    engine.gate.clear()
    loading = asyncio.ensure_future(server.update_weights(update(3), drain=True))
    await asyncio.sleep(0.01)
    assert (server.told().standing, server.told().version) == (Standing.LOADING, 0)
    engine.gate.set()
    await loading
    assert (server.told().standing, server.told().version) == (Standing.WHOLE, 3)
    assert [one.standing for one in said] == [Standing.WHOLE, Standing.LOADING, Standing.WHOLE]


async def test_one_whose_update_failed_serves_nothing_until_it_is_whole(server, engine):
    await server.version()
    engine.is_bad = True
    with pytest.raises(PolicyError, match="half a file"):
        await server.update_weights(update(1), drain=True)
    assert server.told().standing is Standing.TORN
    for call in (server.generate([ASKED]), server.score([1])):
        with pytest.raises(PolicyError, match=r"no whole weights.*version 1 stopped half-way"):
            await call
    assert engine.calls == []
    engine.is_bad = False
    await server.recover()
    assert (server.told().standing, server.told().version) == (Standing.WHOLE, 1)
    assert len(await server.generate([ASKED])) == 1


async def test_its_own_request_is_computed_with_no_other(server, engine):
    await server.version()
    engine.gate.clear()
    trial = asyncio.ensure_future(server.try_itself())
    await asyncio.sleep(0.01)
    asked = asyncio.ensure_future(server.generate([ASKED]))
    await asyncio.sleep(0.01)
    assert server.told().running == 0
    engine.gate.set()
    assert await trial is True
    await asked
    assert engine.calls == [[(0,)], [(0,)]]
    engine.gate.clear()
    asked = asyncio.ensure_future(server.generate([ASKED]))
    await asyncio.sleep(0.01)
    assert server.told().running == 1
    assert await server.try_itself() is False
    engine.gate.set()
    await asked
    assert len(engine.calls) == 3


async def test_what_is_sampled_and_not_answered_is_pending(server, engine):
    await server.version()
    await server.try_itself()
    assert server.told().pending_tokens == 0
    engine.gate.clear()
    asked = [asyncio.ensure_future(server.generate([ASKED])) for _ in range(2)]
    await asyncio.sleep(0.01)
    engine.counted += 5
    assert server.told().pending_tokens == 5
    engine.counted -= 5
    engine.gate.set()
    await asyncio.gather(*asked)
    assert (server.told().running, server.told().pending_tokens) == (0, 0)


async def test_one_that_retires_finishes_and_takes_no_more(server, engine):
    await server.version()
    engine.gate.clear()
    asked = asyncio.ensure_future(server.generate([ASKED]))
    await asyncio.sleep(0.01)
    server.retire("it takes 99 GB")
    with pytest.raises(PolicyError, match="takes no more requests: it takes 99 GB"):
        await server.generate([ASKED])
    engine.gate.set()
    assert len(await asked) == 1
    assert server.told().standing is Standing.RETIRING
