"""What follows for a server on what is heard of it; whole histories are in `test_histories`."""

from __future__ import annotations

import pytest

from munro.rollout.engine import Load
from munro.rollout.fleet.bound import Bound
from munro.rollout.fleet.errors import TooFewServers
from munro.rollout.fleet.registry import LEASE_S, LeaseClock, Registry
from munro.rollout.fleet.types import Beat, Standing, State


def beat(number, *, incarnation=1, standing=Standing.WHOLE, version=0, **more):
    return Beat(
        name="server-0",
        incarnation=incarnation,
        number=number,
        standing=standing,
        version=version,
        layout=more.pop("layout", "ours"),
        **more,
    )


@pytest.fixture
def registry():
    one = Registry(layout="ours")
    one.served(0)
    assert one.join("server-0", "run/server-0", token="a", now=0.0) == 1
    return one


def only(registry, now):
    (one,) = registry.view(now=now).servers
    return one


def test_a_server_starts_serves_is_quiet_and_is_gone(registry):
    assert only(registry, 0.0).state is State.STARTING
    registry.beat(beat(1), now=1.0)
    assert only(registry, 1.0).may_be_asked(0)
    assert not only(registry, 1.0).may_be_asked(1)
    states = {second: only(registry, float(second)).state for second in range(1, 14)}
    assert states[4] is State.SERVING
    assert states[5] is State.PROBED
    assert states[11] is State.PROBED
    assert states[12] is State.GONE
    assert not registry.beat(beat(2), now=14.0)
    assert registry.join("server-0", "run/server-0", token="a", now=14.0) is None
    assert registry.join("server-0", "run/server-0", token="b", now=14.0) == 2


def test_a_clock_that_jumps_takes_nobody_for_dead(registry):
    registry.beat(beat(1), now=1.0)
    assert only(registry, 1e9).state is State.SERVING
    assert only(registry, -1e9).state is State.SERVING
    clock = LeaseClock()
    assert [clock.look(at) for at in (100.0, 101.0, 9000.0, 50.0)] == [0.0, 1.0, 3.0, 3.0]


def test_one_that_is_late_is_torn_until_it_has_that_version(registry):
    registry.beat(beat(1), now=0.0)
    roster = registry.freeze(1, now=0.0)
    assert list(roster.members) == ["server-0"]
    registry.closed(roster, [], now=1.0)
    registry.beat(beat(2), now=1.0)  # written before it was asked
    assert only(registry, 1.0).state is State.TORN
    registry.beat(beat(3, standing=Standing.LOADING), now=2.0)
    assert only(registry, 2.0).state is State.TORN
    registry.beat(beat(4, version=1), now=3.0)
    assert only(registry, 3.0).may_be_asked(1)


def test_what_the_driver_saw_holds_before_the_next_word(registry):
    registry.beat(beat(1), now=0.0)
    roster = registry.freeze(1, now=0.0)
    registry.closed(roster, ["server-0"], now=0.0)
    assert only(registry, 0.0).may_be_asked(1)
    # an update that is closed is none of a process that has come since
    registry.join("server-0", "run/server-0", token="b", now=0.0)
    registry.beat(beat(1, incarnation=2), now=0.0)
    registry.closed(roster, ["server-0"], now=0.0)
    assert only(registry, 0.0).state is State.CATCHING_UP


def test_a_claim_to_weights_that_are_not_there_yet_is_never_believed(registry):
    registry.beat(beat(1, version=2), now=0.0)
    assert "claims version 2" in only(registry, 0.0).why
    for version in (1, 2):
        registry.closed(registry.freeze(version, now=0.0), [], now=0.0)
    registry.beat(beat(2, version=2), now=1.0)
    assert only(registry, 1.0).state is State.TORN
    registry.closed(registry.freeze(3, now=1.0), ["server-0"], now=1.0)
    assert only(registry, 1.0).may_be_asked(3)


def test_another_layout_is_in_no_roster(registry):
    registry.beat(beat(1, layout="other"), now=0.0)
    assert only(registry, 0.0).state is State.TORN
    assert registry.freeze(1, now=0.0).members == {}


def test_a_registry_that_was_started_again_takes_nobody_for_a_liar():
    fresh = Registry(layout="ours")
    assert fresh.join("server-0", "run/server-0", token="a", now=0.0, had=4) == 5
    fresh.beat(beat(9, incarnation=5, version=7), now=0.0)
    assert not only(fresh, 0.0).may_be_asked(0)
    fresh.served(7)
    assert only(fresh, 0.0).may_be_asked(7)


def test_what_a_dead_server_had_sampled_is_counted_as_lost(registry):
    registry.beat(beat(1, pending_tokens=40), now=0.0)
    for second in range(int(LEASE_S) + 2):
        registry.view(now=float(second))
    assert registry.view(now=12.0).lost_tokens == 40
    registry.join("server-0", "run/server-0", token="b", now=12.0)
    registry.beat(beat(1, incarnation=2, pending_tokens=2), now=12.0)
    registry.leave("server-0", 2, now=13.0)
    assert registry.view(now=13.0).lost_tokens == 42


def test_routers_that_look_are_counted(registry):
    for router in ("worker-0", "worker-1", "worker-0"):
        registry.view(now=0.0, router=router)
    assert registry.view(now=0.0).num_routers == 2


def test_the_bound_halves_when_it_preempts_and_grows_by_one_where_there_is_room():
    bound = Bound().after(64, Load(preempted=0, kv_use=0.5))
    assert bound.most is None
    bound = bound.after(64, Load(preempted=2, kv_use=1.0))
    assert bound.most == 32
    assert bound.after(32, Load(preempted=2, kv_use=0.95)).most == 32
    assert bound.after(10, Load(preempted=2, kv_use=0.5)).most == 32
    bound = bound.after(32, Load(preempted=2, kv_use=0.5))
    assert bound.most == 33
    for _ in range(9):
        bound = bound.after(33, Load(preempted=(bound.preempted or 0) + 1))
    assert bound.most == 1
    assert Bound().after(9, None) == Bound()


def test_too_few_servers_cross_processes():
    import pickle

    failure = TooFewServers("driver", "2 servers, and 1 serves", 9.0)
    again = pickle.loads(pickle.dumps(failure))
    assert (type(again), str(again)) == (TooFewServers, str(failure))
