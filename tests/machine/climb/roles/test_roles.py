"""What a climb waits for in vain is started anew, once; a climb without steps is noticed."""

from __future__ import annotations

import time

import pytest

from munro.base_model.training.goodput import Ledger
from munro.machine.climb.cluster.roles import Patience, Watchdog
from munro.machine.run.goodput import Spans
from munro.rl.clip import Clip
from munro.rl.state import ClimbState
from munro.rollout.waits import Stalled


class Late:
    """A source of groups and a publisher that stall the first `times` times."""

    def __init__(self, times):
        self.times = times

    def _late(self):
        self.times -= 1
        if self.times >= 0:
            raise Stalled("driver", "something", 3.0)

    def take(self, num_groups, state):
        self._late()
        return [num_groups]

    def publish(self, version):
        self._late()
        return {"version": version}


def patience_of(told):
    return Patience(
        Spans(Ledger(None)),
        Watchdog(60, lambda: None),
        told.append,
        lambda: told.append("stacks"),
        lambda: told.append("servers"),
        lambda: told.append("workers"),
    )


STATE = ClimbState(clip=Clip(), step=4)


def test_groups_that_stay_away_have_servers_and_workers_start_anew_once_a_step():
    told = []
    patience = patience_of(told)
    source = patience.spans.groups(patience.groups(Late(1)))
    assert source.take(2, STATE) == [2]
    note = "driver waited 3 s for something, which did not come; starting servers and workers anew"
    assert told == ["stacks", note, "servers", "workers"]
    with pytest.raises(Stalled):
        patience.groups(Late(1)).take(2, STATE)
    assert told[4:] == []


def test_on_policy_a_stall_ends_the_climb_at_once():
    told = []
    patience = patience_of(told)
    patience.is_tried_again = False
    with pytest.raises(Stalled):
        patience.groups(Late(1)).take(2, STATE)
    with pytest.raises(Stalled):
        patience.publisher(Late(1)).publish(7)
    assert told == []
    assert patience.tried == 7


def test_an_update_that_stalls_twice_ends_the_climb_and_its_version_is_never_used_again():
    told = []
    patience = patience_of(told)
    assert patience.publisher(Late(1)).publish(7) == {"version": 7}
    patience.spans.step = 1
    with pytest.raises(Stalled):
        patience.publisher(Late(2)).publish(8)
    assert patience.tried == 8
    assert told.count("servers") == 2


def test_no_step_for_too_long_is_a_stall_with_stacks():
    dumped = []
    watchdog = Watchdog(0.2, lambda: dumped.append("stacks"))
    with watchdog.watching():
        watchdog.check()
        end = time.monotonic() + 60
        while not dumped and time.monotonic() < end:
            time.sleep(0.01)
        while not watchdog.is_late and time.monotonic() < end:
            time.sleep(0.01)
        with pytest.raises(Stalled, match="the climb waited 0 s for a step"):
            watchdog.check()
        watchdog.stepped()
    assert set(dumped) == {"stacks"}
