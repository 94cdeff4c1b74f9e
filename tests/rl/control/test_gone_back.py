"""A learner that goes back to a checkpoint loses no task and no rollout, and repeats none."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from munro.rl.config import SyncConfig
from munro.rl.control.controller import Ledger
from munro.rl.control.journal import Journal, audit
from munro.rl.control.streaming import OffPolicy
from munro.rl.state import ClimbState
from tests.builders import make_abandoned, make_group
from tests.rl.control.test_controller import Solvers, config, state

NUM_TASKS = 60
NEVER_STALE = SyncConfig(every_steps=1, max_staleness=1000)


def outcome(index):
    return make_abandoned(index=index) if index % 5 == 0 else make_group(index=index)


@pytest.mark.parametrize("seed", range(8))
def test_every_task_is_trained_on_once_however_often_the_learner_goes_back(tmp_path, seed):
    rng, settings = random.Random(seed), config(num_tasks=NUM_TASKS, sync=NEVER_STALE)
    journal = Journal(tmp_path / "journal.jsonl")
    asked: list[int] = []

    def rule(index):
        asked.append(index)
        return outcome(index)

    saved = state()
    ledger = Ledger(settings, saved.cursor, journal, str, step=0)
    source = OffPolicy(settings, ledger, Solvers(rule), saved, lambda: False)
    now, times_back = saved, 0
    while taken := source.take(3, now):
        if times_back < 4 and rng.random() < 0.4:  # it dies over a batch
            now = saved.gone_back(now.policy_version)
            source.gone_back(now)
            times_back += 1
            continue
        now = replace(now, step=now.step + 1, cursor=source.settle(taken, now.step + 1))
        now = now.with_new_policy()
        if rng.random() < 0.5:
            saved = now
    source.close()
    journal.close()
    found = audit(tmp_path / "journal.jsonl")
    assert found.trained_twice == found.skipped == ()
    assert not found.in_flight
    assert found.trained.keys() | found.abandoned == set(range(NUM_TASKS))
    assert times_back


def test_what_was_not_trained_on_is_not_sampled_again(tmp_path):
    settings = config(num_tasks=12, sync=NEVER_STALE)
    journal = Journal(tmp_path / "journal.jsonl")
    asked: list[int] = []

    def rule(index):
        asked.append(index)
        return make_group(index=index)

    ledger = Ledger(settings, state().cursor, journal, str, step=0)
    source = OffPolicy(settings, ledger, Solvers(rule), state(), lambda: False)
    first = source.take(2, state())
    source.settle(first, 1)
    source.take(2, state())  # the learner dies over these
    source.gone_back(state())
    trained: list[int] = []
    step = 0
    while taken := source.take(2, state()):
        step += 1
        trained += [group.index for group in taken]
        source.settle(taken, step)
    source.close()
    journal.close()
    assert sorted(trained) == list(range(12))
    assert sorted(set(asked)) == list(range(12))
    # only those of the undone step
    assert sorted(i for i in set(asked) if asked.count(i) > 1) == sorted(g.index for g in first)
    assert audit(tmp_path / "journal.jsonl").trained.keys() == set(range(12))


def test_age_counts_updates_along_the_lines_of_weights_and_never_by_a_number_alone():
    now = ClimbState(clip=state().clip, policy_version=5)
    assert [now.age(version) for version in (5, 4, 0)] == [0, 1, 5]
    back = now.gone_back(8)  # 6, 7 and 8 are undone: 9 is 5 again
    assert back.policy_version == 9
    assert [back.age(version) for version in (9, 8, 7, 6, 5, 4)] == [0, 3, 2, 1, 0, 1]
    on = back.with_new_policy().with_new_policy()
    assert [on.age(version) for version in (11, 10, 9, 8, 5, 4)] == [0, 1, 2, 5, 2, 3]
    # back to 9 again, from 12: 13 is 9 is 5
    twice = back.gone_back(12)
    assert [twice.age(version) for version in (13, 12, 9, 8, 5, 4)] == [0, 3, 0, 3, 0, 1]
    assert ClimbState.from_json(twice.to_json()) == twice
    # servers that are older than the checkpoint change nothing
    assert now.gone_back(4) == now
