"""A server's own thread tells how it is, and ends it when it answers nobody. Time is told here."""

from __future__ import annotations

import asyncio

import pytest

from munro.rewards.errors import PolicyError
from munro.rollout.cluster.pulse import Pulse
from munro.rollout.fleet.registry import Registry
from munro.rollout.fleet.types import Standing, State
from munro.rollout.fleet.watchdog import ANSWER_S, TRIAL_S
from munro.rollout.inference import InferenceServer
from tests.rollout.fleet.test_standing import ASKED, Gated


class Line:
    """A registry at hand."""

    def __init__(self):
        self.registry, self.now, self.is_down = Registry(layout="ours"), 0.0, False
        self.registry.served(0)

    def join(self, token, had):
        return self.registry.join("server-0", "run/server-0", token=token, now=self.now, had=had)

    def beat(self, beat):
        return self.registry.beat(beat, now=self.now)

    def leave(self, incarnation):
        self.registry.leave("server-0", incarnation, now=self.now)

    def seen(self):
        (one,) = self.registry.view(now=self.now).servers
        return one


class Case:
    def __init__(self, tmp_path, **more):
        self.line, self.engine, self.ended, self.built = Line(), Gated(), [], 0
        self.pulse = Pulse(
            "server-0",
            self.line,
            "ours",
            end=lambda: self.ended.append(self.line.now),
            **{"most_gb": 0.0, "is_late": False, **more},
        )
        self.server = InferenceServer(self.build, tmp_path)
        self.pulse._server = self.server
        self.pulse.lives_in(asyncio.get_running_loop())

    def build(self):
        self.built += 1
        return self.engine

    async def until(self, now, step=1.0):
        while self.line.now < now and not self.ended:
            self.line.now += step
            # a thread of its own, as it is in a server: it waits for what runs in the loop
            await asyncio.to_thread(self.pulse.turn, self.line.now)
            await asyncio.sleep(0.002)


@pytest.fixture
async def case(tmp_path):
    return Case(tmp_path)


async def test_one_that_nobody_asks_gets_its_engine_by_itself(tmp_path):
    late = Case(tmp_path, is_late=True)
    await late.until(3)
    assert late.built == 1
    assert late.line.seen().state is State.SERVING
    assert late.line.seen().incarnation == 1


async def test_an_idle_one_asks_itself_now_and_then(case):
    await case.server.version()
    await case.until(4 * TRIAL_S)
    assert 2 <= len(case.engine.calls) <= 4
    assert case.line.seen().state is State.SERVING
    assert case.ended == []


async def test_one_that_hangs_is_unwell_and_then_ends_itself(case):
    await case.server.version()
    case.engine.gate.clear()
    await case.until(TRIAL_S + ANSWER_S + 3)
    assert case.line.seen().state is State.PROBED
    await case.until(1000)
    assert case.ended
    assert case.ended[0] <= 2 * (TRIAL_S + ANSWER_S) + 5
    assert case.line.seen().state is State.GONE
    with pytest.raises(PolicyError, match="2 misses in a row, the last: no token within 30 s"):
        await case.server.generate([ASKED])


async def test_one_that_takes_too_much_memory_finishes_first(tmp_path):
    case = Case(tmp_path, most_gb=1e-3)
    await case.server.version()
    case.engine.gate.clear()
    asked = asyncio.ensure_future(case.server.generate([ASKED]))
    await asyncio.sleep(0.01)
    await case.until(10)
    assert case.server.told().standing is Standing.RETIRING
    assert case.ended == []
    case.engine.gate.set()
    await asked
    await case.until(20)
    assert case.ended


async def test_one_whose_lease_ended_joins_under_another_incarnation(case):
    await case.server.version()
    await case.until(2)
    for _ in range(8):  # nothing is heard of it
        case.line.now += 2
        case.line.registry.view(now=case.line.now)
    assert case.line.seen().state is State.GONE
    await case.until(case.line.now + 3)
    assert (case.line.seen().state, case.line.seen().incarnation) == (State.SERVING, 2)
