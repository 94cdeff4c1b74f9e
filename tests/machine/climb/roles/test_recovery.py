"""Killed anywhere, a climb goes on; stalled, it ends with its cause."""

import random
import time

import psutil
import pytest

from munro.rl.control.journal import audit
from tests.machine.climbing import kill_hard, munro, rows, start, wait_for_step, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

ASYNC = (
    "--sync.max_staleness", "4",
    "--sync.every_steps", "2",
    "--rollout.groups_in_flight", "4",
    "--checkpoint.every_steps", "3",
    "--eval.every_steps", "0",
)  # fmt: skip

ACTORS = {"server": "ray::_ServerActor", "learner": "ray::_Rank"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recovery")


def kill_actor(driver, kind, within_s=400):
    """kill -9 of the actor process of this kind, as soon as there is one."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        for process in psutil.Process(driver.pid).children(recursive=True):
            try:
                if ACTORS[kind] in " ".join(process.cmdline()):
                    process.kill()
                    return
            except psutil.Error:
                continue
        time.sleep(0.2)
    raise AssertionError(f"no {kind} to kill")


def last_step(run):
    return max((row["step"] for row in rows(run)), default=0)


def climb_and_kill(folder, name, kills, num_tasks, seed):
    """Climb off-policy over `num_tasks` tasks; kill one process after another; to the end."""
    recipe = str(write_recipe(folder, name))
    run = folder / "runs" / name
    arguments = ("climb", recipe, *ASYNC, "--num_steps", "1000", "--num_tasks", str(num_tasks))
    rng = random.Random(seed)
    driver = start(*arguments)
    for kind in kills:
        if driver.poll() is not None:
            break
        wait_for_step(run, last_step(run) + rng.randint(1, 3), driver, within_s=500)
        if kind == "driver":
            kill_hard(driver)
            driver = start(*arguments)
        else:
            kill_actor(driver, kind)
    said, _ = driver.communicate(timeout=1000)
    assert driver.returncode == 0, said
    return audit(run / "journal.jsonl"), said


def assert_every_task_is_accounted_for(found, num_tasks):
    assert found.trained_twice == found.skipped == ()
    assert not found.in_flight
    assert found.trained.keys() | found.abandoned == set(range(num_tasks))


@pytest.mark.climb
def test_off_policy_a_killed_learner_and_driver_lose_and_repeat_no_task(folder):
    # of servers see tests/rollout/test_cluster.py, and below
    found, said = climb_and_kill(folder, "kills", ("learner", "driver"), 32, seed=1)
    assert_every_task_is_accounted_for(found, 32)
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_twenty_kills_over_200_tasks_lose_and_repeat_no_task(folder):
    kills = [("server", "learner", "driver")[i % 3] for i in range(20)]
    found, _ = climb_and_kill(folder, "twenty", kills, 200, seed=2)
    assert_every_task_is_accounted_for(found, 200)


HANGING = """
import time

from munro.envs import Grade, SingleTurn, Task


class Mine(SingleTurn):
    def tasks(self, split):
        return [Task(id=f"{split}-{i}", prompt=f"say {i}") for i in range(64)]

    def grade(self, task, reply):
        time.sleep(10_000)
"""


@pytest.mark.slow
def test_a_grader_that_never_returns_ends_the_run_with_its_name(folder):
    recipe = str(write_recipe(folder, "hanging", env=HANGING))
    done = munro(
        "climb", recipe, "--eval.every_steps", "0", "--rollout.grade_deadline_s", "1",
        "--rollout.retries", "0",
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "grade of" in done.stderr
    assert "grade_deadline_s" in done.stderr


@pytest.mark.slow
def test_a_server_that_stops_answering_is_a_stall_with_stacks(folder):
    recipe = str(write_recipe(folder, "stopped-server"))
    run = folder / "runs" / "stopped-server"
    driver = start(
        "climb", recipe, "--num_steps", "1000", "--eval.every_steps", "0",
        "--deadlines.groups_s", "30", "--deadlines.sync_s", "30",
    )  # fmt: skip
    wait_for_step(run, 2, driver, within_s=500)
    frozen = [
        process
        for process in psutil.Process(driver.pid).children(recursive=True)
        if ACTORS["server"] in " ".join(process.cmdline())
    ]
    for process in frozen:
        process.suspend()
    said, _ = driver.communicate(timeout=1000)
    assert driver.returncode == 2, said
    assert "waited 30 s" in said
    assert any((run / "stacks").iterdir())
    assert not [process for process in frozen if process.is_running()]
