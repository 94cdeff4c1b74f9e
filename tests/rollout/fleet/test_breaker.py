"""Trust in a server is lost at once and comes back by stages."""

from __future__ import annotations

from munro.rollout.fleet.breaker import TRIAL_ANSWERS, Breaker, Patience, Stage

PATIENCE = Patience(deadline_s=1, patience_s=1, backoff_s=1.0, backoff_max_s=5.0)


def failed(breaker, *, now=0.0, is_grave=False):
    return breaker.failed(PATIENCE, now=now, is_grave=is_grave)


def test_it_opens_after_failures_in_a_row_or_one_grave_one():
    breaker = Breaker()
    for _ in range(2):
        breaker = failed(breaker)
        assert breaker.stage is Stage.CLOSED
    assert failed(breaker).is_open
    assert failed(failed(breaker.answered())).stage is Stage.CLOSED
    assert failed(Breaker(), is_grave=True).is_open


def test_it_comes_back_by_one_request_then_a_tenth_then_all():
    breaker = failed(Breaker(), is_grave=True)
    assert not breaker.room(0, 100, alone=True)
    breaker = breaker.well()
    assert breaker.room(0, 100, alone=False)
    assert not breaker.room(1, 100, alone=True)
    breaker = breaker.answered()
    assert [breaker.room(n, 100, alone=False) for n in (0, 9, 10)] == [True, True, False]
    assert breaker.room(0, 0, alone=False)
    assert breaker.room(99, 100, alone=True)
    for _ in range(TRIAL_ANSWERS - 1):
        breaker = breaker.answered()
        assert breaker.stage is Stage.TRIAL
    assert breaker.answered() == Breaker()


def test_any_failure_on_the_way_back_opens_it_again_for_longer():
    breaker = failed(Breaker(), is_grave=True)
    pauses = []
    for now in range(0, 50, 10):
        breaker = failed(breaker.well().answered(), now=float(now))
        assert breaker.is_open
        breaker = failed(breaker, now=float(now), is_grave=True)
        pauses.append(breaker.probe_at - now)
    assert pauses[0] == 1.0
    vain = failed(Breaker(), is_grave=True)
    for _ in range(8):
        vain = failed(vain, is_grave=True)
    assert vain.probe_at == 5.0


def test_an_answer_from_before_it_opened_says_nothing():
    breaker = failed(Breaker(), is_grave=True)
    assert breaker.answered() is breaker
