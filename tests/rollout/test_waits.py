"""Waits have names and deadlines, and anybody can ask a run what it waits for."""

from __future__ import annotations

import asyncio
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from munro.rollout import waits
from munro.rollout.waits import Stalled, dump_stacks, publish, read_waits, waiting

CHILD = """
import sys, time
from munro.rollout.waits import publish, waiting
publish(sys.argv[1], "stuck", every_s=0.01)
with waiting("the end of the world", 3600):
    def the_end_of_the_world():
        sys.stdout.write("waiting\\n")
        sys.stdout.flush()
        time.sleep(3600)
    the_end_of_the_world()
"""


@pytest.fixture
def published(tmp_path):
    stop = publish(tmp_path, "driver", every_s=0.001)
    yield tmp_path
    stop()


@pytest.fixture
def stuck_process(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


async def test_an_overrun_cancels_what_is_inside_and_names_the_wait():
    cancelled = asyncio.Event()

    async def grade() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(Stalled, match=r"for grade of arithmetic/17\+25, which did not come") as it:
        async with waiting("grade of arithmetic/17+25", 0.01):
            await grade()
    assert cancelled.is_set()
    assert it.value.what == "grade of arithmetic/17+25"
    assert waits._registry.current() == []


async def test_what_is_inside_may_have_time_limits_of_its_own():
    with pytest.raises(TimeoutError):
        async with waiting("a grade", 60):
            raise TimeoutError("the judge's own")


async def test_being_cancelled_from_outside_is_no_stall():
    async def wait() -> None:
        async with waiting("a grade", 60):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_synchronous_wait_passes_its_deadline_on_and_becomes_a_stall():
    def take() -> None:
        with waiting("groups from worker 0", 0.01) as wait:
            try:
                queue.Queue[int]().get(timeout=wait.remaining + 0.001)
            except queue.Empty:
                raise TimeoutError from None

    with pytest.raises(Stalled, match="groups from worker 0"):
        take()


def test_a_stall_crosses_processes_whole():
    stall = pickle.loads(pickle.dumps(Stalled("server-0", "weights", 12.0)))
    assert (stall.who, stall.what, stall.seconds) == ("server-0", "weights", 12.0)


def test_a_process_says_what_it_waits_for_until_it_stops(tmp_path):
    stop = publish(tmp_path, "driver", every_s=0.001)
    with waiting("step 12 of the learner", 600):
        said = _until(lambda: [one for one in read_waits(tmp_path) if one.num_waits])
    stop()
    assert [wait.what for wait in said[0].waits] == ["step 12 of the learner"]
    assert (said[0].process, said[0].pid, said[0].is_alive) == ("driver", os.getpid(), True)
    assert not said[0].is_overdue
    assert read_waits(tmp_path) == []


def test_only_the_oldest_of_many_waits_are_listed_and_all_are_counted(published):
    many = [waiting(f"grade {i}", 60 + i) for i in range(waits.SHOWN + 5)]
    for one in many:
        one.__enter__()
    said = _until(lambda: [one for one in read_waits(published) if one.num_waits == len(many)])
    for one in many:
        one.__exit__(None, None, None)
    assert [wait.what for wait in said[0].waits] == [f"grade {i}" for i in range(waits.SHOWN)]


def test_threads_come_and_go_while_the_waits_are_published(published):
    def busy() -> None:
        for _ in range(300):
            with waiting("something short", 60):
                read_waits(published)

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _until(lambda: read_waits(published)[0].num_waits == 0)


def test_stacks_of_a_stuck_process_are_dumped_by_name(tmp_path, stuck_process):
    written = dump_stacks(tmp_path)
    assert (tmp_path / "stacks" / f"stuck-{stuck_process.pid}.txt") in written
    assert all("the_end_of_the_world" in Path(file).read_text() for file in written)
    assert stuck_process.poll() is None


def test_a_killed_process_leaves_its_last_words_and_is_known_to_be_gone(tmp_path, stuck_process):
    stuck_process.send_signal(signal.SIGKILL)
    stuck_process.wait()
    said = read_waits(tmp_path)
    assert [(one.process, one.is_alive) for one in said] == [("stuck", False)]
    assert dump_stacks(tmp_path) == []


def _until(see):
    """What `see` gives as soon as that is true; the test's own time limit ends a vain wait."""
    while not (seen := see()):
        threading.Event().wait(0.002)
    return seen


def test_a_time_limit_that_ends_a_moment_early_is_a_stall_all_the_same():
    with pytest.raises(Stalled), waiting("an answer", 0.3) as wait:  # noqa: PT012
        time.sleep(wait.remaining - 0.01)
        raise TimeoutError
    with pytest.raises(TimeoutError), waiting("an answer", 60):
        raise TimeoutError
