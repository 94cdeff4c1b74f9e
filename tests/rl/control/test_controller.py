"""Which tasks are handed out, and which groups reach the learner."""

import threading
from collections import Counter
from dataclasses import replace

import pytest

from munro.rl.config import BatchConfig, ClimbConfig, DeadlinesConfig, SyncConfig
from munro.rl.control.controller import Ledger, NoSignal, OnPolicy, TooManyUnscored, split
from munro.rl.control.journal import Journal, audit
from munro.rl.control.streaming import OffPolicy
from munro.rl.state import ClimbState, Cursor
from munro.rollout.config import RolloutConfig
from munro.rollout.types import Reason
from munro.rollout.waits import Stalled
from tests.builders import make_abandoned, make_attempt, make_group, make_trajectory, tell


def config(**changes):
    boring = {
        "num_steps": 9,
        "batch": BatchConfig(num_groups=2),
        "rollout": RolloutConfig(groups_in_flight=3),
        "sync": SyncConfig(every_steps=1, max_staleness=1),
    }
    return ClimbConfig(**(boring | changes))


class Solvers:
    """Solves at once by a rule from task index to outcome."""

    def __init__(self, rule):
        self.rule, self.waves, self.ready, self.lock = rule, [], [], threading.Lock()
        self.gone, self.forgotten = set(), []

    def solve_all(self, tasks, deadline_s):
        self.waves.append([index for index, _ in tasks])
        return [tell(self.rule(index)) for index, _ in tasks]

    def assign(self, tasks):
        with self.lock:
            self.ready += [index for index, _ in tasks]

    def next_outcomes(self, timeout_s):
        threading.Event().wait(0.005)
        with self.lock:
            indices, self.ready = self.ready, []
        return [tell(found) for index in indices if (found := self.rule(index)) is not None]

    def lost(self, groups):
        return [group for group in groups if group.index in self.gone]

    def forget(self, groups):
        self.forgotten += [group.index for group in groups]


def odd_ones_pass(index):
    return make_group(index=index) if index % 2 else make_abandoned(index=index)


@pytest.fixture
def ledger(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")

    def make(settings, cursor=None, step=0):
        return Ledger(settings, cursor or Cursor(), journal, str, step=step)

    yield make
    journal.close()


def state(version=0):
    return ClimbState(clip=ClimbState.first(config().clip).clip, policy_version=version)


def test_waves_go_on_until_enough_groups_passed(ledger):
    solvers = Solvers(odd_ones_pass)
    groups = OnPolicy(config(), ledger(config()), solvers).take(2, state())
    assert [group.index for group in groups] == [1, 3]
    assert solvers.waves[0] == [0, 1]


def test_a_wave_serves_every_step_up_to_the_next_weight_update(ledger):
    settings = config(
        sync=SyncConfig(every_steps=3, max_staleness=0), checkpoint={"every_steps": 3}
    )
    solvers = Solvers(lambda index: make_group(index=index))
    source = OnPolicy(settings, ledger(settings), solvers)
    taken, now = [], state()
    for _ in range(4):
        taken.append([group.index for group in source.take(2, now)])
        now = replace(now, step=now.step + 1)
    assert taken == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [len(wave) for wave in solvers.waves] == [6, 6]


def test_a_climb_that_was_stopped_inside_a_wave_samples_for_the_rest_of_it(ledger):
    settings = config(
        sync=SyncConfig(every_steps=3, max_staleness=0), checkpoint={"every_steps": 3}
    )
    solvers = Solvers(lambda index: make_group(index=index))
    source = OnPolicy(settings, ledger(settings), solvers)
    source.take(2, replace(state(), step=2))
    assert [len(wave) for wave in solvers.waves] == [2]


@pytest.mark.parametrize(
    ("num_groups", "parts", "sizes"),
    [(6, 3, [2, 2, 2]), (7, 3, [2, 2, 3]), (2, 3, [1, 1]), (0, 3, []), (5, 1, [5])],
)
def test_a_wave_is_parted_evenly_in_order_and_no_part_is_empty(num_groups, parts, sizes):
    groups = [make_group(index=index) for index in range(num_groups)]
    batches = split(groups, parts)
    assert [len(batch) for batch in batches] == sizes
    assert [group for batch in batches for group in batch] == groups


def test_a_checkpoint_inside_a_wave_is_refused():
    with pytest.raises(ValueError, match=r"Set checkpoint\.every_steps = 48"):
        config(sync=SyncConfig(every_steps=8, max_staleness=0), checkpoint={"every_steps": 50})


def test_later_waves_allow_for_what_the_gates_refuse(ledger):
    solvers = Solvers(odd_ones_pass)
    source = OnPolicy(config(), ledger(config(), Cursor(acceptance=0.5)), solvers)
    source.take(2, state())
    assert solvers.waves == [[0, 1, 2, 3]]


def test_gates_that_let_nothing_through_end_the_climb_with_the_reasons(ledger):
    solvers = Solvers(lambda index: make_abandoned(Reason.TOO_EASY, index=index))
    source = OnPolicy(config(), ledger(config()), solvers)
    with pytest.raises(NoSignal, match=r"\d+ too_easy.*rollout\.early_pass_rate"):
        source.take(2, state())


def test_an_ungraded_attempt_is_not_a_zero_but_too_many_end_the_run(ledger):
    solvers = Solvers(
        lambda index: make_abandoned(
            Reason.UNSCORED, index=index, num_unscored=4, detail="judge unreachable"
        )
    )
    with pytest.raises(TooManyUnscored, match="judge unreachable"):
        OnPolicy(config(), ledger(config()), solvers).take(9, state())


def test_the_failure_that_is_named_may_be_one_of_attempts_that_a_group_made_again(ledger):
    made = {1: {"num_unscored": 50, "detail": "judge unreachable"}}
    solvers = Solvers(lambda index: make_group(index=index, **made.get(index, {})))
    with pytest.raises(TooManyUnscored, match="Last failure: judge unreachable"):
        OnPolicy(config(), ledger(config()), solvers).take(9, state())


def test_the_task_limit_ends_the_stream(ledger):
    settings = config(num_tasks=5)
    source = OnPolicy(settings, ledger(settings), Solvers(odd_ones_pass))
    assert [group.index for group in source.take(9, state())] == [1, 3]
    assert source.take(9, state()) == []


def test_pending_tasks_are_handed_out_first_after_a_resume(ledger):
    solvers = Solvers(odd_ones_pass)
    source = OnPolicy(config(), ledger(config(), Cursor(next_index=10, pending=(3, 7))), solvers)
    assert [group.index for group in source.take(2, state())] == [3, 7]


def test_streaming_trains_every_task_once_and_skips_none(ledger, tmp_path):
    settings = config(num_tasks=40)
    book = ledger(settings)
    source = OffPolicy(settings, book, Solvers(odd_ones_pass), state(), lambda: False)
    step = 0
    while taken := source.take(3, state()):
        step += 1
        source.settle(taken, step)
    source.close()
    found = audit(tmp_path / "journal.jsonl")
    assert sorted(found.trained) == list(range(1, 40, 2))
    assert found.trained_twice == found.skipped == ()
    assert not found.in_flight


def test_a_group_too_old_is_dropped_counted_and_its_task_handed_out_again(ledger):
    seen = Counter()

    def rule(index):
        seen[index] += 1
        version = 0 if seen[index] == 1 else 5
        attempts = tuple(
            make_attempt(reward, trajectory=make_trajectory(version=version)) for reward in (1, 0)
        )
        return make_group(index=index, attempts=attempts, early_pass_rate=0.5)

    settings, solvers = config(num_tasks=4), Solvers(rule)
    source = OffPolicy(settings, ledger(settings), solvers, state(5), lambda: False)
    taken = source.take(4, state(5))
    assert {group.oldest_version for group in taken} == {5}
    assert source.metrics()["groups/stale"] == 4
    assert sorted(solvers.forgotten) == [0, 1, 2, 3]
    source.close()


def test_groups_that_went_with_their_node_are_sampled_again_and_none_is_trained_on(
    ledger, tmp_path
):
    seen = Counter()

    def rule(index):
        seen[index] += 1
        if seen[index] == 2:
            solvers.gone.discard(index)
        return make_group(index=index)

    settings, solvers = config(num_tasks=6, batch=BatchConfig(num_groups=3)), Solvers(rule)
    solvers.gone = {1, 2}
    source = OffPolicy(settings, ledger(settings), solvers, state(), lambda: False)
    taken = []
    while fresh := source.take(3, state()):
        taken += [group.index for group in fresh]
        source.settle(fresh, len(taken))
    source.close()
    assert sorted(taken) == list(range(6))
    assert [index for index, times in seen.items() if times == 2] == [1, 2]
    found = audit(tmp_path / "journal.jsonl")
    assert sorted(found.trained) == list(range(6))
    assert found.trained_twice == found.skipped == ()


def test_groups_that_never_come_are_a_stall_and_not_a_hang(ledger):
    settings = config(deadlines=DeadlinesConfig(groups_s=0.5))
    source = OffPolicy(settings, ledger(settings), Solvers(lambda _: None), state(), lambda: False)
    with pytest.raises(Stalled, match="groups in flight"):
        source.take(1, state())
    source.close()


def test_a_poll_that_brings_nothing_does_not_shorten_the_deadline(ledger, monkeypatch):
    now = iter(range(1000))
    monkeypatch.setattr("munro.rl.control.streaming.time.monotonic", lambda: next(now) / 10)
    settings = config(deadlines=DeadlinesConfig(groups_s=3.0))
    source = OffPolicy(settings, ledger(settings), Solvers(lambda _: None), state(), lambda: False)
    with pytest.raises(Stalled, match="waited 3 s"):
        source.take(1, state())
    assert next(now) >= 30
    source.close()


def test_a_stream_without_signal_ends_and_says_why(ledger):
    def rule(index):
        return make_abandoned(index=index)

    source = OffPolicy(config(), ledger(config()), Solvers(rule), state(), lambda: False)
    with pytest.raises(NoSignal, match=r"tries at step 0: \d+ too_hard_early"):
        source.take(1, state())
    source.close()


def test_a_stream_with_little_signal_makes_do_with_what_passed(ledger):
    def rule(index):
        return make_group(index=0) if index == 0 else make_abandoned(Reason.TOO_EASY, index=index)

    settings = config(batch=BatchConfig(num_groups=2, patience=3))
    source = OffPolicy(settings, ledger(settings), Solvers(rule), state(), lambda: False)
    assert [group.index for group in source.take(2, state())] == [0]
    source.close()


def test_what_breaks_in_the_pump_is_raised_in_the_loop(ledger):
    def rule(index):
        raise OSError("the store is gone")

    source = OffPolicy(config(), ledger(config()), Solvers(rule), state(), lambda: False)
    with pytest.raises(OSError, match="the store is gone"):
        source.take(1, state())
    source.close()
