"""Calls into user code use threads again, and never wait for one that hangs."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

from munro.envs import threads
from munro.envs.base import call


def busy():
    """Threads at work: one that an earlier test left hanging is among them."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("call ")]


async def at_work(wanted, but):
    """Names of the threads at work but those, once they are that many: a moment after a call."""
    end = time.monotonic() + 5
    while True:
        found = [thread.name for thread in busy() if thread not in but]
        if len(found) == wanted or time.monotonic() > end:
            return found
        await asyncio.sleep(0.01)


async def test_a_thread_is_used_again_and_bears_the_name_of_what_it_does():
    seen, before = set(), busy()

    def work():
        seen.add((threading.get_ident(), threading.current_thread().name))

    for _ in range(20):
        await call(work)
        await asyncio.sleep(0.002)
    # one may not have been free in time, under load; a thread for each call would be 20
    assert len({ident for ident, _ in seen}) < 5
    assert {name.split(".")[-1] for _, name in seen} == {"work"}
    assert await at_work(0, before) == []


async def test_one_that_hangs_is_left_behind_and_others_go_on():
    over, before = threading.Event(), busy()
    hung = [asyncio.ensure_future(call(over.wait)) for _ in range(3)]
    await asyncio.sleep(0.02)
    assert await asyncio.wait_for(call(lambda: 42), 5) == 42
    assert await at_work(3, before) == ["call Event.wait"] * 3
    over.set()
    assert await asyncio.gather(*hung) == [True] * 3


async def test_what_a_call_held_is_let_go():
    class Large:
        gone = False

        def __del__(self):
            Large.gone = True

    await call(lambda held: None, Large())
    for _ in range(100):
        await asyncio.sleep(0.01)
        if Large.gone:
            return
    pytest.fail("the thread holds on to what it did last")


async def test_a_thread_without_work_ends(monkeypatch):
    monkeypatch.setattr(threads, "IDLE_S", 0.05)
    worker = threads._Worker()
    with threads._lock:
        threads._free.append(worker)
    end = time.monotonic() + 5
    while worker._thread.is_alive() and time.monotonic() < end:
        await asyncio.sleep(0.01)
    assert not worker._thread.is_alive()
    assert worker not in threads._free


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_makes_threads_of_its_own():
    await call(lambda: None)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            done = threading.Event()
            threads.start("call in the child", done.set)
            status = 0 if done.wait(5) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
