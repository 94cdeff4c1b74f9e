"""How many tasks may be open: the arithmetic, and that no more are."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from munro.rl.clip import Clip
from munro.rl.config import ClimbConfig
from munro.rl.control.controller import Ledger
from munro.rl.control.in_flight import InFlight, Room, by_engines, by_staleness, room_of
from munro.rl.control.journal import Journal
from munro.rl.control.streaming import OffPolicy
from munro.rl.state import ClimbState, Cursor
from munro.rollout.config import RolloutConfig
from tests.builders import make_abandoned, make_attempt, make_group, make_trajectory, tell


def config(**changes):
    tree = {
        "num_steps": 9,
        "batch": {"num_groups": 10},
        "rollout": {"groups_in_flight": "auto", "group_size": 16, "max_batch": 64, "workers": 2},
        "sync": {"every_steps": 2, "max_staleness": 3},
        "length": {"stages": [100, 200]},
    }
    return ClimbConfig.model_validate(tree | changes)


def test_engines_are_full_with_one_group_more_than_they_hold():
    # 20,000 tokens hold 20 sequences of 1,000: two groups of 16 to fill them, one to wait
    assert by_engines(Room(tokens=20_000, sequences=256), 16, 1000.0) == 3
    # short replies: the batch is what bounds them
    assert by_engines(Room(tokens=20_000, sequences=256), 16, 10.0) == 256 // 16 + 1
    assert by_engines(Room(tokens=None, sequences=64), 16, 1e9) == 5
    # no room for one sequence is told elsewhere: here at least one group and its successor
    assert by_engines(Room(tokens=10, sequences=64), 16, 1000.0) == 2


@pytest.mark.parametrize(
    ("every_steps", "max_staleness", "groups"),
    [(2, 3, (2 * 3 - 1) * 10), (1, 1, 10), (1, 2, 10), (5, 8, 390)],
)
def test_the_learner_takes_all_of_them_before_they_are_stale(every_steps, max_staleness, groups):
    sync = {"every_steps": every_steps, "max_staleness": max_staleness}
    assert by_staleness(config(sync=sync)) == groups


def test_the_servers_room_is_added_up_where_all_of_them_say():
    assert room_of(config(), [1000, 3000]) == Room(tokens=4000, sequences=128)
    assert room_of(config(), [1000, None]) == Room(tokens=None, sequences=128)


def of_length(tokens, index=0):
    told = make_trajectory(reply_ids=range(5, 5 + tokens - 4))
    attempts = (make_attempt(trajectory=told),) * 2
    return tell(make_group(index=index, attempts=attempts, early_pass_rate=1))


def test_attempts_are_as_long_as_their_cap_until_some_have_come_back():
    found = InFlight(config(), Room(tokens=12_800, sequences=1000))
    assert found.most(cap=200) == 12_800 // 200 // 16 + 1
    for _ in range(3):
        found.seen(of_length(32))
    assert found.most(cap=200) == 5
    found.seen(tell(make_abandoned(num_sampled=32 * 8, num_attempts=8)))
    assert found.tokens(200) == 40.0
    assert found.most(cap=200) == 12_800 // 40 // 16 + 1
    # the longer stage's replies are what counts once they are there
    for _ in range(100):
        found.seen(of_length(640))
    assert found.most(cap=400) == 2


def test_a_number_is_that_number():
    given = config(rollout={"groups_in_flight": 3, "workers": 2})
    assert InFlight(given).most(cap=10**9) == 6
    for wrong in (0, "all", 1.5):
        with pytest.raises(ValueError, match="groups_in_flight"):
            RolloutConfig.model_validate({"groups_in_flight": wrong})


class Slow:
    """Workers whose tasks come back one at a time; remembers how many were open at most."""

    def __init__(self, ledger):
        self.open, self.most, self.ledger = [], 0, ledger

    def assign(self, tasks):
        self.open += [index for index, _ in tasks]
        self.most = max(self.most, len(self.open))

    def next_outcomes(self, timeout_s):
        threading.Event().wait(0.002)
        return [of_length(32, self.open.pop(0))] if self.open else []

    def lost(self, groups):
        return []

    def forget(self, groups):
        pass


def test_a_climb_opens_as_many_and_no_more_and_follows_what_it_sees(tmp_path):
    given = config(batch={"num_groups": 4}, sync={"every_steps": 4, "max_staleness": 4})
    journal = Journal(tmp_path / "journal.jsonl")
    state = ClimbState.first(Clip())
    ledger = Ledger(given, Cursor(), journal, str, step=0)
    # 16 sequences of 100 tokens; of the 40 that they turn out to have 40
    in_flight = InFlight(given, room_of(given, [1600]))
    solvers = Slow(ledger)
    groups = OffPolicy(given, ledger, solvers, state, lambda: False, in_flight)
    try:
        for step in range(1, 7):
            taken = groups.take(4, state)
            assert len(taken) == 4
            groups.settle(taken, step)
            state = replace(state, step=step)
        assert solvers.most == in_flight.most(cap=100) == int(np.ceil(40 / 16)) + 1 == 4
        assert groups.metrics()["groups/in_flight_most"] == 4
    finally:
        groups.close()
        journal.close()


def test_what_it_comes_to_is_told_with_its_reckoning():
    told = InFlight(config(), room_of(config(), [3200, 3200])).told(100)
    assert told == (
        "5 groups in flight: the engines hold 128 sequences at once and 6,400 tokens of keys and "
        "values, which 5 groups of 16 attempts of 100 tokens keep full; 50 at most within "
        "sync.max_staleness"
    )
