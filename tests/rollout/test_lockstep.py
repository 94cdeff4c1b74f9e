"""The same wave makes the same batches, whatever the threads' timing."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from munro.rewards.errors import PolicyError
from munro.rollout.engine import Request
from munro.rollout.lockstep import Freely, Lockstep
from tests.rollout.builders import ScriptedEngine


def request(*key):
    return Request(key=key, prompt_ids=[1], max_tokens=9, seed=0, stop_token_ids=(2,))


def echo(request):
    """A policy that writes the request's key."""
    return [*request.key, 2]


def lockstep(*servers, patience_s=60.0, deadline_s=60.0, version=0):
    return Lockstep(
        servers, version=version, deadline_s=deadline_s, patience_s=patience_s, probe_s=0.001
    )


async def in_a_thread(seconds):
    """Work that ends at a time of its own, outside the event loop."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    wake = threading.Timer(seconds, lambda: loop.call_soon_threadsafe(done.set_result, None))
    wake.start()
    await done


async def wave(servers, jitter: random.Random):
    """Problems of an early phase, a gate and a second phase; attempts of one to three turns whose
    grading and tools take any time. What a problem does depends on its number alone."""
    together = lockstep(*servers)

    async def attempt(problem, number):
        written = []
        for turn in range(1 + (problem + number) % 3):
            (done,) = await together.generate([request(problem, number, 0, turn)])
            written.append(done.token_ids.tolist())
            await in_a_thread(jitter.random() * 0.004)
        return written

    async def solve(problem):
        early = await together.gather([attempt(problem, n) for n in range(2)])
        await in_a_thread(jitter.random() * 0.008)
        if problem % 4 == 3:  # stopped by the gate
            return early
        if problem % 4 == 2:  # a phase of no attempts
            await together.gather([])
        rest = await together.gather([attempt(problem, n) for n in range(2, 5)])
        await in_a_thread(jitter.random() * 0.004)
        return early + rest

    told = await together.run([solve(problem) for problem in range(6)])
    return told, [server.calls for server in servers]


@pytest.mark.parametrize("num_servers", [1, 3])
async def test_the_same_wave_makes_the_same_batches_whatever_takes_how_long(num_servers):
    first = None
    for seed in range(15):
        servers = [ScriptedEngine(echo) for _ in range(num_servers)]
        told, calls = await wave(servers, random.Random(seed))
        first = first or (told, calls)
        assert (told, calls) == first
    told, calls = first
    assert told[3] == [[[3, 0, 0, 0, 2]], [[3, 1, 0, 0, 2], [3, 1, 0, 1, 2]]]
    opening = sorted(key for batches in calls for key in batches[0])
    assert opening == [(p, n, 0, 0) for p in range(6) for n in range(2)]


async def test_a_batch_is_in_the_order_of_keys_and_dealt_out_in_turn():
    servers = [ScriptedEngine(echo), ScriptedEngine(echo)]
    together = lockstep(*servers)
    keys = [(3,), (1,), (0,), (2,), (4,)]
    told = await together.run([together.generate([request(*key)]) for key in keys])
    assert [server.calls for server in servers] == [[[(0,), (2,), (4,)]], [[(1,), (3,)]]]
    assert [done[0].token_ids.tolist() for done in told] == [[*key, 2] for key in keys]


async def test_later_turns_go_where_their_episode_began_and_new_ones_fill_up():
    servers = [ScriptedEngine(echo), ScriptedEngine(echo)]
    together = lockstep(*servers)

    async def episode(number):
        # of 0 to 5 those with an even number go on for three turns, the others are replaced
        for turn in range(3 if number % 2 == 0 else 1):
            await together.generate([request(number, 0, 0, turn)])
        if number % 2:
            await together.generate([request(10 + number, 0, 0, 0)])

    await together.run([episode(number) for number in range(6)])
    where = {key: at for at, server in enumerate(servers) for call in server.calls for key in call}
    for number in (0, 2, 4):
        assert len({where[number, 0, 0, turn] for turn in range(3)}) == 1
    # the even ones stayed on the first server, so the second has those that came later
    assert [where[number, 0, 0, 0] for number in (0, 2, 4, 11, 13, 15)] == [0, 0, 0, 1, 1, 1]
    assert [len(call) for call in servers[0].calls] == [3, 3, 3]
    assert [len(call) for call in servers[1].calls] == [3, 3]


async def test_one_party_may_ask_for_several_completions_at_once():
    together = lockstep(ScriptedEngine(echo), ScriptedEngine(echo))
    asked = [request(2), request(0), request(1)]
    (told,) = await together.run([together.generate(asked)])
    assert [done.token_ids.tolist() for done in told] == [[2, 2], [0, 2], [1, 2]]


async def test_a_batch_waits_for_a_party_that_is_still_thinking():
    engine = ScriptedEngine(echo)
    together = lockstep(engine)
    thought = asyncio.Event()

    async def thinks():
        await thought.wait()
        return await together.generate([request(1)])

    running = asyncio.ensure_future(together.run([together.generate([request(0)]), thinks()]))
    for _ in range(20):
        await asyncio.sleep(0)
    assert engine.calls == []
    thought.set()
    await running
    assert engine.calls == [[(0,), (1,)]]


async def test_a_party_that_is_done_holds_nobody_up():
    engine = ScriptedEngine(echo)
    together = lockstep(engine)

    async def idles():
        await asyncio.sleep(0.001)

    async def is_done():
        return None

    await together.run([together.generate([request(0)]), is_done(), idles()])
    assert engine.calls == [[(0,)]]


async def test_an_exception_in_the_wave_ends_it_at_once_and_the_next_wave_is_as_new():
    engine = ScriptedEngine(echo)
    together = lockstep(engine)

    async def breaks():
        await together.generate([request(0)])
        raise KeyError("a bug")

    async def waits():
        await asyncio.Event().wait()

    with pytest.raises(KeyError, match="a bug"):
        await together.run([breaks(), together.generate([request(1)]), together.gather([])])
    with pytest.raises(KeyError, match="a bug"):
        await together.run([together.gather([breaks()]), together.gather([breaks(), breaks()])])
    engine.calls.clear()
    await together.run([together.generate([request(2)]), together.generate([request(3)])])
    assert engine.calls == [[(2,), (3,)]]


async def test_a_cancelled_wave_takes_its_batch_with_it():
    engine = ScriptedEngine(echo)
    engine.hangs = True
    together = lockstep(engine, deadline_s=3600)
    running = asyncio.ensure_future(together.run([together.generate([request(n)]) for n in (0, 1)]))
    while not engine.calls:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    batches = list(together._batches)
    await asyncio.gather(*batches, return_exceptions=True)
    assert all(batch.cancelled() for batch in batches)
    engine.hangs = False
    assert len(await together.run([together.generate([request(2)])])) == 1


async def test_a_server_that_comes_back_is_given_the_very_same_share():
    servers = [ScriptedEngine(echo), ScriptedEngine(echo, version=4)]
    together = lockstep(*servers, version=4)
    servers[0].is_down = True
    running = asyncio.ensure_future(
        together.run([together.generate([request(n)]) for n in range(4)])
    )
    while not servers[0].probes:
        await asyncio.sleep(0)
    servers[0].is_down = False  # restarted, with weights that are too old as yet
    while servers[0].probes < 3:
        await asyncio.sleep(0)
    assert len(servers[0].calls) == 1
    servers[0].served = 4
    told = await running
    assert servers[0].calls == [[(0,), (2,)]] * 2
    assert servers[1].calls == [[(1,), (3,)]]
    assert [done[0].token_ids.tolist() for done in told] == [[n, 2] for n in range(4)]


@pytest.mark.parametrize("broken", ["is_down", "hangs"])
async def test_a_server_that_stays_away_fails_its_share_and_no_other(broken):
    servers = [ScriptedEngine(echo), ScriptedEngine(echo)]
    setattr(servers[0], broken, True)
    together = lockstep(*servers, patience_s=0.3, deadline_s=0.3)

    async def ask(n):
        try:
            return len(await together.generate([request(n)]))
        except PolicyError as failure:
            return str(failure)

    told = await together.run([ask(n) for n in range(3)])
    assert told[1] == 1
    assert "server 0" in told[0] or "down" in told[0]
    assert told[0] == told[2]


async def test_without_lockstep_nobody_waits_for_anybody():
    engine = ScriptedEngine(echo)
    together = Freely(engine)
    thought = asyncio.Event()

    async def asks():
        done = await together.generate([request(0)])
        thought.set()
        return done[0].token_ids.tolist()

    async def thinks():
        await thought.wait()
        return "late"

    assert await together.gather([thinks(), asks()]) == ["late", [0, 2]]
