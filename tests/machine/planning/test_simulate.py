"""The simulator against closed forms: a shared server, Little's law, a climb of constants."""

from __future__ import annotations

from dataclasses import replace
from math import inf, log
from random import Random
from statistics import fmean, stdev
from typing import Any

import pytest

from munro.machine.planning.scenario import Scenario
from munro.machine.planning.sharing import Group, Server
from munro.machine.planning.simulate import Climb

BATCHES, IN_A_BATCH = 30, 1200
LOAD = 0.6


def scenario(**fields: Any) -> Scenario:
    """One server, every group passes, all lengths alike."""
    plain = {
        "servers": 1, "slots": 1 << 20, "token_s": 0.01, "token_more_s": 0.001,
        "num_early": 2, "num_later": 6, "pass_early": 1.0, "pass_full": 1.0,
        "num_groups": 4, "every_steps": 2, "max_staleness": 8, "in_flight": 8,
        "trained_s": 0.001, "mean": 50.0, "num_steps": 40, "warm_up": 10,
    }  # fmt: skip
    return Scenario(**(plain | fields))


def sojourns(draw: Any, random: Random) -> list[float]:
    """Of customers who come as Poisson has it and share a server of one unit of work a second."""
    server, found = Server(inf, 0.0, 1.0), list[float]()
    arrival, number = random.expovariate(LOAD), 0
    while len(found) < BATCHES * IN_A_BATCH:
        if arrival <= (end := server.next_end()):
            server.settle(arrival)
            number += 1
            server.begin(draw(), number, Group())
            arrival += random.expovariate(LOAD)
        else:
            server.settle(end)
            _, _, _, began, _ = server.end()
            found.append(end - began)
    return found


@pytest.mark.parametrize("law", ["all alike", "exponential", "log-normal"])
def test_a_shared_server_keeps_customers_as_long_as_the_closed_form(law: str) -> None:
    # M/G/1 with processor sharing: mean / (1 - load), whatever the law
    random = Random(7)
    draws = {
        "all alike": lambda: 1.0,
        "exponential": lambda: random.expovariate(1.0),
        "log-normal": lambda: random.lognormvariate(-(0.8**2) / 2, 0.8),
    }
    found = sojourns(draws[law], random)
    means = [fmean(found[i : i + IN_A_BATCH]) for i in range(0, len(found), IN_A_BATCH)]
    half = 2.045 * stdev(means) / BATCHES**0.5  # t, 95%, 29 degrees of freedom
    assert abs(fmean(means) - 1 / (1 - LOAD)) < half
    assert half < 0.2


def test_attempts_under_way_are_their_rate_times_their_stay() -> None:
    climb = Climb(scenario(spread=0.8, pass_early=0.5, pass_full=0.8, seed=3, slots=20))
    out = climb.run()
    still = sum(climb.now - began for s in climb.servers for _, _, _, began, _ in s.heap)
    assert out.area == pytest.approx(out.sojourn_s + still, rel=1e-9)
    assert out.attempts > 1000


def test_a_climb_of_constants_in_turns_takes_what_one_reckons() -> None:
    how = scenario(max_staleness=0, sync_s=3.0, stall_s=5.0, save_every=6, num_steps=12)
    out = Climb(how).run()
    groups = how.num_groups * how.every_steps
    early = how.mean * (how.token_s + how.token_more_s * groups * how.num_early)
    later = how.mean * (how.token_s + how.token_more_s * groups * how.num_later)
    train = how.num_groups * (how.num_early + how.num_later) * how.mean * how.trained_s
    turn = early + later + how.every_steps * train + how.sync_s
    # the last turn ends with its last step; one checkpoint, after step 6, lies before
    assert out.wall_s == pytest.approx(6 * turn - how.sync_s + how.stall_s, rel=1e-9)
    assert out.staleness == (0.0, 0)


def test_the_age_of_groups_is_what_is_ahead_of_them_in_weight_updates() -> None:
    # a slow learner: of the groups in flight and in the buffer, each step takes its share
    how = scenario(trained_s=0.05, in_flight=40, num_steps=120, warm_up=60, max_staleness=1000)
    mean, _ = Climb(how).run().staleness
    ahead = (how.in_flight + how.num_groups) / (how.num_groups * how.every_steps)
    assert mean == pytest.approx(ahead, rel=0.1)


def test_nothing_older_than_the_bound_is_trained_on() -> None:
    how = scenario(trained_s=0.05, in_flight=40, num_steps=80, warm_up=0, max_staleness=3)
    out = Climb(how).run()
    assert max(out.ages) <= 3
    assert out.dropped > 0


def test_a_learner_that_waits_takes_groups_as_fast_as_they_come() -> None:
    how = scenario(trained_s=1e-9, in_flight=8, num_steps=200, warm_up=50)
    out = Climb(how).run()
    # all are in step: eight groups' early attempts, then their later ones
    early = how.mean * (how.token_s + how.token_more_s * 8 * how.num_early)
    later = how.mean * (how.token_s + how.token_more_s * 8 * how.num_later)
    assert out.steps_per_hour == pytest.approx(3600 * 8 / 4 / (early + later), rel=0.02)


def test_failures_cost_what_they_take() -> None:
    quiet = scenario(spread=0.8, servers=2, num_steps=150, warm_up=20, save_every=10)
    calm = Climb(quiet).run()
    hour = calm.wall_s / 5
    failing = replace(quiet, server_failures_per_s=1 / hour, server_down_s=hour / 10,
                      learner_failures_per_s=1 / hour, learner_down_s=hour / 10)  # fmt: skip
    rough = Climb(failing).run()
    assert calm.redone == calm.lost_tokens == 0
    assert rough.redone > 0
    assert rough.lost_tokens > 0
    assert rough.wall_s > calm.wall_s
    assert len(rough.steps) == 150


def test_a_seed_gives_one_climb_and_another_gives_another() -> None:
    how = scenario(spread=0.8, server_failures_per_s=1e-3, server_down_s=10.0)
    first, again, other = (Climb(replace(how, seed=s)).run() for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_servers_that_end_what_they_have_first_are_slower_than_those_that_swap() -> None:
    how = scenario(spread=0.8, sync_s=1.0)
    swapping = Climb(how).run()
    ending = Climb(replace(how, swaps_in_flight=False)).run()
    assert ending.wall_s > swapping.wall_s


def test_a_recorded_length_is_drawn_as_it_was() -> None:
    out = Climb(scenario(recorded=(3.0, 5.0), num_steps=20)).run()
    assert 3.0 < out.tokens / out.attempts < 5.0
    assert log(out.tokens) > 0
