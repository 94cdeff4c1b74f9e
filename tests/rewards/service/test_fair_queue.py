"""Fairness, by single steps: who is served next, who waits at the door, who is held back."""

from __future__ import annotations

import threading
import time

import pytest

from munro.rewards.service.fair_queue import Closed, FairQueue, Full


def taken(queue, num):
    return [queue.take()[1] for _ in range(num)]


def test_a_group_gets_its_work_in_order():
    queue = FairQueue(capacity=9, takers=1)
    for n in range(3):
        queue.put("a", n)
    assert taken(queue, 3) == [0, 1, 2]


def test_who_had_the_least_time_is_served_next():
    queue = FairQueue(capacity=99, takers=1)
    for n in range(20):
        queue.put("slow", f"slow-{n}")
    group, work = queue.take()
    time.sleep(0.05)
    queue.done(group, work)
    for n in range(3):
        queue.put("quick", f"quick-{n}")
    order = []
    for _ in range(4):
        group, work = queue.take()
        time.sleep(0.05 if group == "slow" else 0)
        queue.done(group, work)
        order.append(group)
    assert order.count("quick") >= 2


def test_work_under_way_counts_so_that_one_group_does_not_take_every_taker():
    queue = FairQueue(capacity=9, takers=3)
    queue.put("a", "a1")
    queue.take()
    time.sleep(0.01)
    for work in ("a2", "a3"):
        queue.put("a", work)
    queue.put("b", "b1")
    # b begins level with a, and a's work has gone on since
    time.sleep(0.01)
    queue.take()
    assert {name for name, group in queue._groups.items() if group.started} == {"a", "b"}


def test_a_group_caught_with_poison_holds_at_most_half_of_the_takers():
    queue = FairQueue(capacity=99, takers=4)
    queue.put("bad", "first")
    group, work = queue.take()
    queue.done(group, work, was_poison=True)
    for n in range(9):
        queue.put("bad", n)
    assert taken(queue, 2) == [0, 1]
    late = []
    waiter = threading.Thread(target=lambda: late.append(queue.take()[1]))
    waiter.start()
    queue.put("good", "good")
    waiter.join(30)
    assert late == ["good"]


def test_a_group_fills_half_of_the_queue_and_a_newcomer_is_let_in_all_the_same():
    queue = FairQueue(capacity=4, takers=1)
    queue.put("other", 0)
    queue.put("flood", 1)
    queue.put("flood", 2)
    with pytest.raises(Full):
        queue.put("flood", 3, timeout_s=0.01)
    queue.put("other", 4)
    with pytest.raises(Full):
        queue.put("other", 5, timeout_s=0.01)
    queue.put("newcomer", 6, timeout_s=0.01)
    assert len(queue) == 5


def test_whoever_waits_at_the_door_is_let_in_when_room_comes():
    queue = FairQueue(capacity=1, takers=1)
    queue.put("", 1)
    let_in = threading.Thread(target=queue.put, args=("", 2))
    let_in.start()
    assert queue.take()[1] == 1
    let_in.join(30)
    assert queue.take()[1] == 2


def test_what_is_withdrawn_is_not_given_out():
    queue = FairQueue(capacity=9, takers=1)
    works = [["same"], ["same"]]
    for work in works:
        queue.put("a", work)
    assert queue.withdraw("a", works[0])
    assert not queue.withdraw("a", works[0])
    assert queue.take()[1] is works[1]
    assert len(queue) == 0


def test_closing_ends_every_wait_and_hands_back_what_was_left():
    queue = FairQueue(capacity=9, takers=1)
    queue.put("a", 1)
    assert queue.close() == [1]
    with pytest.raises(Closed):
        queue.take()
    with pytest.raises(Closed):
        queue.put("a", 2)
