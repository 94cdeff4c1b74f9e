"""The pool of killable children: limits, deaths, threads, and what a child may see and do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from munro.rewards.errors import GraderError
from munro.rewards.workers import Status, WorkerPool

JOBS = "tests.rewards.jobs"


def pool(**changes):
    return WorkerPool(**{"size": 1, "timeout_s": 30, "memory_mb": 512, **changes})


def is_over(pid: int) -> bool:
    """Whether the process ends within half a minute; one that nobody reaps has ended too."""
    for _ in range(300):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


def test_a_job_is_a_name_and_json_and_its_value_comes_back():
    with pool() as workers:
        assert workers.run("math:factorial", 5).value == 120
        assert workers.run(f"{JOBS}:echo", {"a": [1, None, "\ud800\u00e9"]}).value == {
            "a": [1, None, "\ud800\u00e9"]
        }


def test_nothing_is_started_before_the_first_job_and_nothing_is_left_after_the_last():
    with pool() as workers:
        assert workers.pids == []
        workers.run("math:factorial", 3)
        pids = workers.pids
        assert pids
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(GraderError, match="closed"):
        workers.run("math:factorial", 3)


def test_warming_starts_every_child_and_a_spare():
    with pool(size=2) as workers:
        workers.warm()
        assert len(workers.pids) == 3


def test_a_job_over_its_time_is_killed_and_the_next_one_runs():
    with pool() as workers:
        workers.warm()
        outcome = workers.run("time:sleep", 600, timeout_s=0.2)
        assert outcome.status is Status.TIMED_OUT
        assert "0.2 s" in outcome.detail
        assert workers.run("math:factorial", 4).value == 24


def test_a_long_computation_that_never_yields_the_interpreter_is_killed():
    with pool() as workers:
        workers.warm()
        assert workers.run(f"{JOBS}:tower", timeout_s=0.5).status is Status.TIMED_OUT


def test_cpu_time_has_a_limit_of_its_own_and_waiting_does_not_count():
    with pool(cpu_s=0.3) as workers:
        outcome = workers.run(f"{JOBS}:tower")
        assert (outcome.status, outcome.detail) == (Status.TIMED_OUT, "out of CPU time")
        assert workers.run("time:sleep", 0.5).status is Status.DONE


def test_a_job_that_had_no_cpu_time_is_told_from_one_that_spent_it():
    with pool(cpu_s=0.3) as workers:
        workers.warm()
        assert workers.run("time:sleep", 600, timeout_s=0.2).was_idle
        spent = workers.run(f"{JOBS}:tower")
        assert (spent.status, spent.was_idle) == (Status.TIMED_OUT, False)


def test_a_job_that_raises_says_what_and_its_child_lives_on():
    with pool() as workers:
        before = workers.run("os:getpid").value
        outcome = workers.run("math:factorial", -1)
        assert (outcome.status, outcome.detail[:10]) == (Status.RAISED, "ValueError")
        assert workers.run(f"{JOBS}:recurse").detail == "nested too deeply"
        assert workers.run(f"{JOBS}:not_json").status is Status.RAISED
        assert workers.run("os:getpid").value == before


def test_memory_is_limited():
    with pool(memory_mb=256) as workers:
        assert workers.run(f"{JOBS}:allocate", 300 << 20).status is Status.OUT_OF_MEMORY
        assert workers.run("math:factorial", 4).value == 24


def test_a_child_whose_caches_grew_is_retired():
    with pool(memory_mb=512) as workers:
        before = workers.run("os:getpid").value
        assert workers.run(f"{JOBS}:hoard", 300 << 20).status is Status.DONE
        assert workers.run("os:getpid").value != before


def test_a_child_that_dies_is_replaced_and_the_job_tried_once_more(tmp_path):
    with pool(sealed=False) as workers:
        assert workers.run(f"{JOBS}:die_once", str(tmp_path / "died")).value == "lived"
        assert workers.run("os:abort").status is Status.DIED
        assert workers.run("math:factorial", 4).value == 24


def test_an_idle_child_that_was_killed_from_outside_is_not_noticed_by_the_caller():
    with pool() as workers:
        workers.warm()
        for pid in workers.pids:
            os.kill(pid, signal.SIGKILL)
        assert workers.run("math:factorial", 4).value == 24


def test_a_template_that_was_killed_is_replaced_with_all_its_children():
    with pool(size=2) as workers:
        workers.warm()
        template, *children = (psutil.Process(pid) for pid in workers.pids)
        template.kill()
        psutil.wait_procs(children, timeout=30)
        assert [workers.run("math:factorial", n).value for n in (3, 4, 5)] == [6, 24, 120]
        assert not {template.pid, *(child.pid for child in children)} & {*workers.pids}


def test_children_are_forked_from_one_process_and_share_nothing_that_they_change():
    with pool(size=2, preload=[f"{JOBS}:seed"]) as workers:
        workers.warm()
        template, *children = workers.pids
        assert {psutil.Process(pid).ppid() for pid in children} == {template}
        assert workers.run(f"{JOBS}:count").value == 1
        assert workers.run(f"{JOBS}:count").value == 2
        workers.run("time:sleep", 60, timeout_s=0.1)
        values = [workers.run(f"{JOBS}:count").value for _ in range(2)]
        assert values == [1, 2]


def test_preloading_may_not_leave_a_thread_behind():
    with (
        pool(preload=[f"{JOBS}:start_thread"]) as workers,
        pytest.raises(GraderError, match="left a thread running"),
    ):
        workers.run("math:factorial", 3)


def test_what_a_job_started_ends_with_its_child(tmp_path):
    note = tmp_path / "pid"
    with pool(sealed=False) as workers:
        assert workers.run(f"{JOBS}:linger", str(note), timeout_s=2).status is Status.TIMED_OUT
        assert is_over(int(note.read_text()))


def test_input_beyond_the_bound_is_refused_without_a_child():
    with pool(max_input_bytes=1000) as workers:
        assert workers.run(f"{JOBS}:echo", "x" * 1001).status is Status.TOO_LARGE
        assert workers.pids == []


def test_what_a_library_prints_is_not_taken_for_an_answer():
    with pool() as workers:
        assert workers.run(f"{JOBS}:chatter").value == "said"


def test_a_child_sees_no_environment_of_ours_and_leaves_no_core(monkeypatch):
    monkeypatch.setenv("MUNRO_TEST_SECRET", "hunter2")
    with pool() as workers:
        seen = workers.run(f"{JOBS}:surroundings").value
    assert "hunter2" not in str(seen["environment"])
    assert seen["core"] == [0, 0]
    assert seen["modules"] == []


@pytest.mark.parametrize("deed", ["write", "write_by_descriptor", "spawn", "fork", "connect"])
def test_a_sealed_child_writes_nothing_starts_nothing_and_connects_nowhere(deed, tmp_path):
    canary = tmp_path / "canary"
    with pool() as workers:
        outcome = workers.run(f"{JOBS}:{deed}", str(canary))
    assert outcome.status is Status.RAISED
    assert "PermissionError" in outcome.detail
    assert not canary.exists()


def test_the_same_deeds_succeed_in_a_child_that_is_not_sealed(tmp_path):
    canary = tmp_path / "canary"
    with pool(sealed=False) as workers:
        assert workers.run(f"{JOBS}:spawn", str(canary)).status is Status.DONE
    assert canary.exists()


def test_a_child_that_cannot_start_is_a_grader_error():
    with (
        pool(preload=["no.such:thing"]) as workers,
        pytest.raises(GraderError, match=r"no\.such|no'"),
    ):
        workers.run("math:factorial", 3)


def test_many_threads_share_a_small_pool():
    with pool(size=2) as workers, ThreadPoolExecutor(16) as threads:
        outcomes = list(threads.map(lambda n: workers.run("math:factorial", n), range(100)))
        assert [outcome.value for outcome in outcomes[:6]] == [1, 1, 2, 6, 24, 120]
        assert all(outcome.status is Status.DONE for outcome in outcomes)
        assert len(workers.pids) <= 3


def test_a_child_outlives_the_thread_that_needed_it():
    with pool() as workers:
        pids: list[int] = []
        thread = threading.Thread(target=lambda: pids.append(workers.run("os:getpid").value))
        thread.start()
        thread.join()
        assert workers.run("os:getpid").value == pids[0]


def test_closing_ends_a_job_under_way():
    workers = pool()
    workers.warm()
    failures: list[GraderError] = []

    def ask() -> None:
        try:
            workers.run("time:sleep", 600)
        except GraderError as failure:
            failures.append(failure)

    thread = threading.Thread(target=ask)
    thread.start()
    while not workers._busy:
        time.sleep(0.01)
    workers.close()
    thread.join(30)
    assert [str(failure) for failure in failures] == ["the worker pool is closed"]


def test_children_end_with_a_parent_that_is_killed():
    code = (
        "from munro.rewards.workers import WorkerPool\n"
        "w = WorkerPool(size=1, timeout_s=99, memory_mb=512)\n"
        "w.warm()\n"
        "print(*w.pids, flush=True)\n"
        "w.run('time:sleep', 90)\n"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root
    ) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        parent.kill()
        _, alive = psutil.wait_procs(children, timeout=30)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []
