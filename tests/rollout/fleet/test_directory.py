"""A router that is told which servers there are: one call for all, and no trust in lies."""

from __future__ import annotations

import asyncio

import pytest

from munro.rewards.errors import PolicyError
from munro.rollout.fleet.breaker import Patience
from munro.rollout.fleet.types import Listed, State, View
from munro.rollout.router import Router
from tests.rollout.builders import ScriptedEngine
from tests.rollout.test_router import request

QUICK = Patience(deadline_s=60, patience_s=60, backoff_s=0.001, backoff_max_s=0.01)


class Told:
    """A directory that says what it is told to."""

    def __init__(self, num):
        self.engines = {f"server-{i}": ScriptedEngine(lambda r: [*r.key, 2]) for i in range(num)}
        self.listed = {name: self.entry(name) for name in self.engines}
        self.calls, self.found, self.more = 0, [], {}

    def entry(self, name, *, incarnation=1, state=State.SERVING, version=0, **more):
        return Listed(
            name=name,
            address=f"run/{name}",
            incarnation=incarnation,
            state=state,
            version=version,
            **more,
        )

    def say(self, name, **fields):
        self.listed[name] = self.entry(name, **fields)

    async def view(self):
        self.calls += 1
        if self.calls == self.more.get("fails"):
            raise PolicyError("the registry is being started again")
        return View(servers=tuple(self.listed.values()), version=0, **self.more.get("view", {}))

    async def caught(self, listed, why):
        self.found.append((listed.name, listed.incarnation, why))
        self.say(listed.name, state=State.TORN, why=why)

    def engine(self, listed):
        return self.engines[listed.name]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("munro.rollout.router.REDISCOVER_S", 0.0)


def router(told, patience=QUICK, **more):
    return Router({}, patience, directory=told, **more)


async def answers(routed, num=6):
    done = await asyncio.gather(*(routed.generate([request(n)]) for n in range(num)))
    await asyncio.sleep(0.01)  # what is looked up behind
    return [one[0] for one in done]


def asked(told):
    found = {name: len(engine.calls) for name, engine in told.engines.items() if engine.calls}
    for engine in told.engines.values():
        engine.calls.clear()
    return found


async def test_a_new_version_is_learned_of_in_one_call_and_no_server_is_asked_for_it(monkeypatch):
    told = Told(8)
    routed = router(told)
    await answers(routed, 16)
    monkeypatch.setattr("munro.rollout.router.REDISCOVER_S", 1e9)
    for name, engine in told.engines.items():
        engine.served = 1
        told.say(name, version=1)
    told.calls, _ = 0, asked(told)
    routed.expect(1)
    done = await answers(routed, 16)
    assert {int(one.versions[0]) for one in done} == {1}
    assert asked(told) == dict.fromkeys(told.engines, 2)
    assert told.calls == 1
    assert {engine.probes for engine in told.engines.values()} == {0}


@pytest.mark.parametrize("state", [one for one in State if one is not State.SERVING])
async def test_nobody_is_asked_who_does_not_serve(state):
    told = Told(2)
    told.say("server-0", state=state)
    routed = router(told)
    await answers(routed)
    assert set(asked(told)) == {"server-1"}
    told.say("server-0")
    await answers(routed, 1)
    await answers(routed)
    assert set(asked(told)) == {"server-0", "server-1"}


async def test_a_server_that_joins_is_tried_with_one_request_first():
    told = Told(2)
    late = told.listed.pop("server-1")
    routed = router(told)
    await answers(routed)
    assert set(asked(told)) == {"server-0"}
    told.listed["server-1"] = late
    await answers(routed, 1)
    assert "server-1 half-open" in str(routed)
    told.engines["server-1"].hangs = True
    waiting = [asyncio.ensure_future(routed.generate([request(n)])) for n in range(9)]
    await asyncio.sleep(0.05)
    assert len(told.engines["server-1"].calls) == 1
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_another_process_of_the_same_name_is_another_server():
    told = Told(1)
    routed = router(told)
    await answers(routed)
    told.engines["server-0"].is_down = True
    told.say("server-0", state=State.GONE)
    waiting = asyncio.ensure_future(routed.generate([request(3)]))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    told.engines["server-0"].is_down = False
    told.say("server-0", incarnation=2)
    (done,) = await waiting
    assert done.token_ids.tolist() == [3, 2]
    assert [one.listed.incarnation for one in routed._servers] == [2]


async def test_an_answer_by_older_weights_than_were_claimed_is_no_answer():
    told = Told(2)
    for name in told.engines:
        told.say(name, version=7)
    told.engines["server-0"].served = 6  # it says 7, and has 6
    told.engines["server-1"].served = 7
    routed = router(told)
    routed.expect(7)
    done = await answers(routed)
    assert {int(one.versions[0]) for one in done} == {7}
    assert {name for name, _, _ in told.found} == {"server-0"}
    assert "has version 7, and wrote with version 6" in told.found[0][2]
    asked(told)
    await answers(routed)
    assert set(asked(told)) == {"server-1"}


async def test_a_registry_that_does_not_answer_or_has_just_begun_takes_no_server_away():
    told = Told(2)
    routed = router(told)
    await answers(routed)
    told.more["fails"] = told.calls + 1
    await answers(routed)
    assert set(asked(told)) == {"server-0", "server-1"}
    told.listed.clear()
    told.more["view"] = {"is_young": True}
    await answers(routed)
    assert set(asked(told)) == {"server-0", "server-1"}
    told.more["view"] = {}
    await answers(routed, 1)
    assert routed._servers == []


async def test_each_router_keeps_to_its_share_of_a_servers_room():
    told = Told(2)
    told.say("server-0", most=6.0)
    told.more["view"] = {"num_routers": 2}
    routed = router(told)
    await answers(routed)
    asked(told)
    for engine in told.engines.values():
        engine.hangs = True
    waiting = [asyncio.ensure_future(routed.generate([request(n)])) for n in range(20)]
    await asyncio.sleep(0.05)
    assert asked(told) == {"server-0": 3, "server-1": 17}
    told.say("server-1", most=2.0)
    await routed._rediscover(0.0)
    more = [asyncio.ensure_future(routed.generate([request(n)])) for n in range(3)]
    await asyncio.sleep(0.05)
    assert asked(told) == {}
    for one in (*waiting, *more):
        one.cancel()
    await asyncio.gather(*waiting, *more, return_exceptions=True)
    for engine in told.engines.values():
        engine.hangs = False
    assert len(await answers(routed)) == 6


async def test_where_no_server_is_left_the_failure_says_what_is_known_of_each():
    told = Told(1)
    told.say("server-0", state=State.TORN, why="an update stopped half-way")
    patience = Patience(deadline_s=60, patience_s=0.05, backoff_s=0.01)
    with pytest.raises(PolicyError, match=r"usable.*server-0.*torn \(an update stopped half-way\)"):
        await router(told, patience).generate([request()])
