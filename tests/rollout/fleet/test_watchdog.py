"""A server that answers nobody, or grows without end, is to start again; a busy one is let be."""

from __future__ import annotations

import pytest

from munro.rollout.fleet.types import Standing
from munro.rollout.fleet.watchdog import SILENT_S, TRIAL_S, Sight, Watchdog


def sight(running=0, generated=0, standing=Standing.WHOLE, **more):
    return Sight(standing=standing, running=running, generated=generated, **more)


def test_an_idle_one_asks_itself_and_two_misses_are_too_many():
    dog = Watchdog()
    assert not dog.is_due(sight(), TRIAL_S - 1)
    assert dog.is_due(sight(), TRIAL_S)
    assert not dog.is_due(sight(running=1), TRIAL_S)
    assert not dog.is_due(sight(standing=Standing.LOADING), TRIAL_S)
    once = dog.tried(sight(), "no token within 30 s", 40.0)
    assert (once.misses, once.verdict) == (1, "")
    assert once.tried(sight(), "", 50.0).misses == 0
    twice = once.tried(sight(), "no token within 30 s", 80.0)
    assert twice.verdict == "2 misses in a row, the last: no token within 30 s"


def test_a_busy_one_must_sample_something():
    dog = Watchdog().after(sight(running=3, generated=5), 1.0)
    for second in range(2, 200):
        dog = dog.after(sight(running=3, generated=5 + second), float(second))
    assert dog.misses == 0
    for second in range(200, 200 + int(2 * SILENT_S) + 2):
        dog = dog.after(sight(running=3, generated=204), float(second))
    assert "no token for 60 s" in dog.verdict


@pytest.mark.parametrize(
    "seen",
    [
        sight(running=3, generated=5, standing=Standing.LOADING),
        sight(running=3, generated=None),
        sight(running=0, generated=5, standing=Standing.STARTING),
    ],
)
def test_one_that_loads_or_does_not_count_is_let_be(seen):
    dog = Watchdog()
    for second in range(500):
        dog = dog.after(seen, float(second))
    assert (dog.misses, dog.verdict) == (0, "")


def test_memory_above_its_bound_is_enough():
    assert Watchdog().after(sight(resident_gb=99), 1.0).verdict == ""
    dog = Watchdog(most_gb=4).after(sight(resident_gb=4.5), 1.0)
    assert dog.verdict == "it takes 4.5 GB, and rollout.max_server_gb = 4"


def test_keys_and_values_held_by_nobody_are_a_miss():
    held = sight(kv_use=0.9)
    assert Watchdog().tried(held, "", 1.0).tried(held, "", 11.0).verdict
    assert not Watchdog().tried(sight(kv_use=0.1), "", 1.0).misses
