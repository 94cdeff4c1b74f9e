"""A server is rebuilt when its engine dies, and never serves older weights than were published."""

from __future__ import annotations

import asyncio
import json

import pytest

from munro.rewards.errors import PolicyError
from munro.rollout.cluster.servers import Servers
from munro.rollout.engine import Request, WeightSource
from munro.rollout.inference import InferenceServer
from tests.rollout.builders import ScriptedEngine


@pytest.fixture
def built():
    """The engines that were built, the last one last."""
    return []


def server(built, folder, *, catch_up=False, failures=0):
    rest = [failures]

    def build():
        if rest[0]:
            rest[0] -= 1
            raise PolicyError("the GPU's memory is not free yet")
        built.append(ScriptedEngine(lambda r: [2]))
        return built[-1]

    return InferenceServer(build, folder, catch_up=catch_up)


def publish(folder, version):
    (folder / "latest.json").write_text(json.dumps({"path": "w", "version": version}))


async def test_the_engine_is_built_once_when_it_is_first_needed(built, tmp_path):
    one = server(built, tmp_path)
    assert built == []
    asked = Request(key=(0,), prompt_ids=[1], max_tokens=1, seed=0)
    await asyncio.gather(*(one.generate([asked]) for _ in range(5)), one.score([1]), one.version())
    assert len(built) == 1
    assert len(built[0].calls) == 5


async def test_a_first_server_ignores_what_an_interrupted_run_published(built, tmp_path):
    publish(tmp_path, 9)
    one = server(built, tmp_path)
    assert await one.version() == 0
    await one.update_weights(WeightSource(path="w", version=5), drain=True)
    assert await one.version() == 5


async def test_a_replacement_catches_up_before_it_answers(built, tmp_path):
    assert await server(built, tmp_path, catch_up=True).version() == 0
    publish(tmp_path, 9)
    asked = Request(key=(0,), prompt_ids=[1], max_tokens=1, seed=0)
    (done,) = await server(built, tmp_path, catch_up=True).generate([asked])
    assert done.versions.tolist() == [9]


async def test_an_engine_that_died_is_replaced_once_it_is_asked_how_it_is(built, tmp_path):
    one = server(built, tmp_path)
    assert await one.version() == 0
    publish(tmp_path, 3)
    built[0].is_down = True
    with pytest.raises(PolicyError):
        await one.version()
    assert built[0].closed
    assert await one.version() == 3
    assert len(built) == 2


async def test_a_start_that_failed_is_tried_again_at_the_next_call(built, tmp_path):
    one = server(built, tmp_path, failures=2)
    for _ in range(2):
        with pytest.raises(PolicyError, match="not free yet"):
            await one.version()
    assert await one.version() == 0


async def test_an_engine_that_cannot_catch_up_is_not_used(built, tmp_path):
    publish(tmp_path, 3)

    class Refuses(ScriptedEngine):
        async def update_weights(self, source, *, drain):
            raise PolicyError("half a file")

    def build():
        built.append(Refuses(lambda r: [2]))
        return built[-1]

    one = InferenceServer(build, tmp_path, catch_up=True)
    with pytest.raises(PolicyError, match="half a file"):
        await one.version()
    assert [engine.closed for engine in built] == [True]


async def test_closing_closes_the_engine_if_there_is_one(built, tmp_path):
    never_asked, one = server(built, tmp_path), server(built, tmp_path)
    await never_asked.close()
    assert not built
    await one.version()
    await one.close()
    assert [engine.closed for engine in built] == [True]


async def test_a_closed_server_starts_no_other_engine(built, tmp_path):
    """A climb's end: its watchdog's trial request comes once more."""
    one = server(built, tmp_path)
    await one.version()
    await one.close()
    with pytest.raises(PolicyError, match="has been closed"):
        await one.version()
    await one.close()
    assert len(built) == 1


async def test_whatever_a_server_does_it_says_what_it_waits_for(tmp_path):
    from munro.rollout import waits

    said = []

    def note():
        said.extend(wait.what for wait in waits._registry.current())

    class Noting(ScriptedEngine):
        async def generate(self, requests):
            note()
            return await super().generate(requests)

        async def update_weights(self, source, *, drain):
            note()

        async def version(self):
            note()
            return 0

    def build():
        note()
        return Noting(lambda r: [2])

    one = InferenceServer(build, tmp_path)
    await one.version()
    await one.generate([Request(key=(0,), prompt_ids=[1], max_tokens=1, seed=0)] * 3)
    await one.update_weights(WeightSource(path="w", version=4), drain=True)
    assert said == [
        "its engine to start",
        "its engine to say its version",
        "3 completions of its engine",
        "its engine to load version 4",
    ]


class SlowEngine(ScriptedEngine):
    """Takes new weights when it is let."""

    def __init__(self):
        super().__init__(lambda r: [2])
        self.gate, self.taken = asyncio.Event(), []

    async def update_weights(self, source, *, drain):
        await self.gate.wait()
        self.taken.append(source.version)
        await super().update_weights(source, drain=drain)


async def test_a_server_that_fell_behind_loads_the_newest_and_passes_over_the_rest(tmp_path):
    engine = SlowEngine()
    one = InferenceServer(lambda: engine, tmp_path)
    updates = []
    for version in (1, 2, 3, 4):
        source = WeightSource(path="w", version=version)
        updates.append(asyncio.create_task(one.update_weights(source, drain=True)))
        await asyncio.sleep(0.01)
    engine.gate.set()
    await asyncio.gather(*updates)
    assert engine.taken == [1, 4]
    assert await one.version() == 4


async def test_without_files_a_replacement_serves_nothing_before_the_next_update(built):
    one = server(built, None, catch_up=True)
    asked = Request(key=(0,), prompt_ids=[1], max_tokens=1, seed=0)
    assert await one.version() == 0
    for call in (one.generate([asked]), one.score([1])):
        with pytest.raises(PolicyError, match="started again, and has no weights before the next"):
            await call
    await one.update_weights(WeightSource(path="", version=7, update={"names": []}), drain=True)
    (done,) = await one.generate([asked])
    assert done.versions.tolist() == [7]
    # a first server has the weights that the run begins with
    assert len(await server(built, None).generate([asked])) == 1


async def test_a_server_that_sleeps_takes_the_same_weights_once_more():
    engine = SlowEngine()
    engine.gate.set()
    slept = []

    async def sleep(*, level):
        slept.append(level)

    engine.sleep = sleep
    one = InferenceServer(lambda: engine, None)
    source = WeightSource(path="w", version=1)
    await one.update_weights(source, drain=True)
    await one.update_weights(source, drain=True)
    assert engine.taken == [1]
    await one.sleep(level=2)
    await one.update_weights(source, drain=True)
    await one.update_weights(source, drain=True)
    assert (slept, engine.taken) == ([2], [1, 1])


def test_each_server_has_a_rank_of_its_own_where_all_meet():
    servers, names = object.__new__(Servers), ["server-0", "server-1", "server-2"]
    servers._workers = 2
    met = WeightSource(path="", version=1, meeting={"rank_offset": 1, "master_port": 4})
    told = servers._told(names, met)
    assert [told[name].meeting["rank_offset"] for name in names] == [1, 3, 5]
    file = WeightSource(path="w", version=1)
    assert servers._told(names, file) == dict.fromkeys(names, file)
