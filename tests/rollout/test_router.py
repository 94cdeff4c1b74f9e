"""Requests find a server that works and serves the right weights, or say why there is none."""

from __future__ import annotations

import asyncio

import pytest

from munro.rewards.errors import PolicyError
from munro.rollout.engine import Request, WeightSource
from munro.rollout.router import Patience, Router
from tests.rollout.builders import ScriptedEngine

QUICK = Patience(deadline_s=60, patience_s=60, backoff_s=0.001, backoff_max_s=0.01)


def request(n=0):
    return Request(key=(n,), prompt_ids=[1], max_tokens=9, seed=0, stop_token_ids=(2,))


def engines(num, **fields):
    return [ScriptedEngine(lambda r: [*r.key, 2], **fields) for _ in range(num)]


def router(servers, patience=QUICK):
    return Router({f"server-{i}": server for i, server in enumerate(servers)}, patience)


async def until(see):
    """Wait for something to be true; the test's own time limit ends a vain wait."""
    while not see():
        await asyncio.sleep(0.001)


async def test_requests_spread_over_the_servers_by_load():
    servers = engines(3)
    routed = router(servers)
    done = await asyncio.gather(*(routed.generate([request(n)]) for n in range(9)))
    assert [len(server.calls) for server in servers] == [3, 3, 3]
    assert [one[0].token_ids.tolist() for one in done] == [[n, 2] for n in range(9)]


async def test_the_load_is_counted_in_requests():
    servers = engines(2)
    for server in servers:
        server.hangs = True
    routed = router(servers)
    tasks = [asyncio.ensure_future(routed.generate([request(n) for n in range(5)]))]
    for n in range(5):
        await until(lambda n=n: sum(len(server.calls) for server in servers) == n + 1)
        tasks.append(asyncio.ensure_future(routed.generate([request(n)])))
    await until(lambda: sum(len(server.calls) for server in servers) == 6)
    assert [len(server.calls) for server in servers] == [1, 5]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [server.num_running for server in routed._servers] == [0, 0]


async def test_a_request_that_fails_is_made_again_on_another_server():
    servers = engines(2)
    routed = router(servers)
    await routed.version()
    servers[0].is_down = True
    (done,) = await routed.generate([request()])
    assert done.stopped
    assert [len(server.calls) for server in servers] == [1, 1]


async def test_a_server_that_hangs_counts_as_failed_and_the_request_goes_elsewhere():
    servers = engines(2)
    servers[0].hangs = True
    routed = router(servers, Patience(deadline_s=0.3, patience_s=60, backoff_s=60))
    await asyncio.gather(*(routed.generate([request(n)]) for n in range(4)))
    before = len(servers[0].calls)
    await asyncio.gather(*(routed.generate([request(n)]) for n in range(4)))
    assert len(servers[0].calls) == before
    assert "server-0 open" in str(routed)


async def test_failures_in_a_row_open_the_breaker_and_a_success_starts_the_count_anew():
    servers = engines(2)
    routed = router(servers, Patience(deadline_s=60, patience_s=60, backoff_s=60, max_failures=2))
    await routed.version()
    for is_down in (True, False, True, False):
        servers[0].is_down = is_down
        await routed.generate([request()])
    assert "server-0 closed" in str(routed)
    servers[0].is_down = True
    for _ in range(4):
        await routed.generate([request()])
    assert "server-0 open" in str(routed)
    assert len(servers[0].calls) == 6


async def test_an_open_server_is_used_again_once_a_probe_finds_it_well():
    servers = engines(2)
    routed = router(servers)
    await routed.version()
    servers[0].is_down = True
    await asyncio.gather(*(routed.generate([request(n)]) for n in range(8)))
    assert "server-0 open" in str(routed)
    servers[0].is_down = False
    servers[0].calls.clear()
    stages = []
    while "server-0 closed" not in str(routed):
        await asyncio.gather(*(routed.generate([request(n)]) for n in range(2)))
        stages.append(str(routed).split(",")[0])
        await asyncio.sleep(0.001)
    assert servers[0].calls
    assert "server-0 trial" in stages


async def test_a_lone_server_is_waited_for_while_it_restarts():
    (server,) = servers = engines(1)
    routed = router(servers)
    server.is_down = True
    running = [asyncio.ensure_future(routed.generate([request(n)])) for n in range(5)]
    await until(lambda: server.probes > 3)
    server.is_down = False
    done = await asyncio.gather(*running)
    assert [one[0].token_ids.tolist() for one in done] == [[n, 2] for n in range(5)]


async def test_a_server_that_is_down_is_probed_by_one_and_ever_more_rarely():
    (server,) = servers = engines(1)
    server.is_down = True
    routed = router(servers, Patience(deadline_s=60, patience_s=0.1, backoff_s=0.01))
    asked = [routed.generate([request(n)]) for n in range(50)]
    failed = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(failure, PolicyError) for failure in failed)
    assert server.probes <= 11
    assert server.calls == []


async def test_when_no_server_is_left_the_failure_names_each():
    servers = engines(2)
    for server in servers:
        server.is_down = True
    routed = router(servers, Patience(deadline_s=60, patience_s=0.02, backoff_s=0.001))
    with pytest.raises(
        PolicyError, match=r"usable.*server-0 open.*engine is down; server-1 open.*engine is down"
    ):
        await routed.generate([request()])


async def test_patience_ends_also_with_servers_that_answer_probes_but_never_complete():
    class Half(ScriptedEngine):
        async def generate(self, requests):
            raise PolicyError("out of memory")

    routed = router(
        [Half(lambda r: [2])], Patience(deadline_s=60, patience_s=0.05, backoff_s=0.001)
    )
    with pytest.raises(PolicyError, match="out of memory"):
        await routed.generate([request()])


async def test_servers_with_old_weights_are_not_used_until_they_catch_up():
    servers = engines(2)
    routed = router(servers)
    await routed.generate([request()])
    servers[1].served = 3
    for server in servers:
        server.calls.clear()
    routed.expect(3)
    done = await asyncio.gather(*(routed.generate([request(n)]) for n in range(6)))
    assert {int(one[0].versions[0]) for one in done} == {3}
    assert servers[0].calls == []
    servers[0].served = 3
    while not servers[0].calls:
        await asyncio.gather(*(routed.generate([request(n)]) for n in range(2)))
        await asyncio.sleep(0.001)


async def test_newer_weights_than_expected_are_good_enough():
    servers = engines(1, version=9)
    routed = router(servers)
    routed.expect(3)
    assert (await routed.generate([request()]))[0].versions.tolist() == [9, 9]


async def test_an_update_reaches_all_and_whoever_misses_it_is_left_alone():
    servers = engines(3)
    routed = router(servers)
    servers[1].is_down = True
    await routed.update_weights(WeightSource(path="w", version=5), drain=True)
    assert [server.served for server in servers] == [5, 0, 5]
    servers[1].is_down = False
    done = await asyncio.gather(*(routed.generate([request(n)]) for n in range(6)))
    assert {int(one[0].versions[0]) for one in done} == {5}
    assert await routed.version() == 0
    for server in servers:
        server.is_down = True
    with pytest.raises(PolicyError, match="no server took the weights of version 6"):
        await routed.update_weights(WeightSource(path="w", version=6), drain=True)
    with pytest.raises(PolicyError, match="no server answers"):
        await routed.version()


async def test_scores_come_from_a_server_that_works_and_closing_closes_all():
    servers = engines(2)
    servers[0].is_down = True
    routed = router(servers)
    assert (await routed.score([1, 2, 3])).tolist() == [0, -0.25, -0.25]
    await routed.close()
    assert all(server.closed for server in servers)


def turn_of(episode, turn):
    return Request(
        key=(episode, 0, 0, turn), prompt_ids=[1], max_tokens=9, seed=0, stop_token_ids=(2,)
    )


def who_answered(servers):
    """Servers by episode, in the order of its turns."""
    found = {}
    for number, server in enumerate(servers):
        for (key,) in server.calls:
            found.setdefault(key[0], []).append((key[3], number))
    return {episode: [server for _, server in sorted(turns)] for episode, turns in found.items()}


async def test_an_episode_stays_with_the_server_that_has_its_beginning():
    servers = engines(3)
    routed = router(servers)
    for turn in range(4):
        # in another order each time: the least loaded one would not be the same
        order = [(episode * (turn + 1)) % 7 for episode in range(7)]
        await asyncio.gather(*(routed.generate([turn_of(episode, turn)]) for episode in order))
    answered = who_answered(servers)
    assert all(len(set(turns)) == 1 and len(turns) == 4 for turns in answered.values()), answered
    assert {turns[0] for turns in answered.values()} == {0, 1, 2}


async def test_an_episode_whose_server_is_gone_goes_to_another_and_stays_there():
    servers = engines(2)
    routed = router(servers, Patience(deadline_s=60, patience_s=60, backoff_s=60))
    await routed.generate([turn_of(5, 0)])
    (home,) = who_answered(servers)[5]
    servers[home].is_down = True
    for turn in range(1, 4):
        await routed.generate([turn_of(5, turn)])
    servers[home].is_down = False
    await routed.generate([turn_of(5, 4)])
    # turn 1 was asked of both
    assert who_answered(servers)[5][2:] == [1 - home] * 4


async def test_an_episode_leaves_a_server_that_is_crowded():
    servers = engines(2)
    routed = router(servers)
    await routed.generate([turn_of(5, 0)])
    (home,) = who_answered(servers)[5]
    servers[home].hangs = True
    crowd = [
        asyncio.ensure_future(routed._ask(routed._servers[home], [turn_of(100, n)]))
        for n in range(20)
    ]
    await until(lambda: routed._servers[home].num_running == 20)
    await routed.generate([turn_of(5, 1)])
    assert who_answered(servers)[5] == [home, 1 - home]
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)


async def test_homes_are_forgotten_in_the_end(monkeypatch):
    monkeypatch.setattr("munro.rollout.fleet.known.MOST_HOMES", 3)
    routed = router(engines(2))
    for episode in range(9):
        await routed.generate([turn_of(episode, 0)])
    assert len(routed._homes._homes) == 3
