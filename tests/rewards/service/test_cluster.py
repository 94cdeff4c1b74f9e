"""Grading services as Ray actors: the same grades and failures, and one that is killed."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil
import pytest

from munro.rewards.config import PoolConfig, RewardsConfig, ServiceConfig
from munro.rewards.errors import GraderError

pytestmark = pytest.mark.ray

CONFIG = ServiceConfig(actors=2, cpus=0, pools={"instructions": PoolConfig(workers=1)})


@pytest.fixture(scope="module")
def graders(local_ray):
    from munro.rewards.service.cluster import Graders

    started = Graders(RewardsConfig(service=CONFIG), {})
    try:
        started.wait_ready(120)
        yield started
    finally:
        started.close()


def comma(response):
    return {"response": response, "instructions": [{"id": "punctuation:no_comma"}]}


def test_actors_grade_as_the_service_in_this_process_does_and_survive_a_kill(graders):
    import ray

    from munro.rewards.service.cluster import RemoteService

    remote = RemoteService(graders.known_as, CONFIG)
    assert remote.grade("instructions", comma("no")).passed is True
    grades = remote.grade_group("instructions", [comma("a, b"), comma("ab")], group="g")
    assert [grade.passed for grade in grades] == [False, True]
    assert remote.submit("math", {"response": "<answer>7</answer>", "answer": 7}).result(60).passed
    with pytest.raises(ValueError, match="'answer' is missing"):
        remote.grade("math", {"response": "7"})
    with pytest.raises(GraderError, match="cannot be read"):
        remote.grade("math", {"response": r"\boxed{x}", "answer": r"\frac{"})
    found = graders.metrics()
    assert found["grade/instructions/graded"] == 3
    assert found["grade/instructions/queue_s"] >= 0

    killed = [ray.get(actor.pid.remote()) for actor in graders.actors]
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(remote.grade("instructions", comma("no"))))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    os.kill(killed[0], signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    assert [grade.passed for grade in answers] == [True] * 20
    # Ray starts it again, and nothing of the one that was killed is left
    deadline = time.monotonic() + 60
    while psutil.pid_exists(killed[0]) and time.monotonic() < deadline:
        time.sleep(0.1)
    graders.wait_ready(120)
    remote.close()


def test_actors_in_other_folders_find_a_grader_by_a_relative_path(graders, tmp_path, monkeypatch):
    from munro.rewards.service.cluster import RemoteService

    (tmp_path / "mine.py").write_text(
        "from munro.rewards import Grade\nfrom munro.rewards.kinds import Grader\n\n\n"
        "class Mine(Grader):\n"
        "    def grade(self, item): return Grade.of(item['response'] == 'yes')\n"
    )
    monkeypatch.chdir(tmp_path)
    remote = RemoteService(graders.known_as, CONFIG)
    assert remote.grade("./mine.py", {"response": "yes"}).passed is True
    assert remote.grade("./mine.py:Mine", {"response": "no"}).passed is False
    remote.close()
