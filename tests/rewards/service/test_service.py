"""The grading service: whatever an input does, there is a grade or a named failure, in time."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest

from munro.rewards import service
from munro.rewards.config import PoolConfig, ServiceConfig
from munro.rewards.errors import GraderError
from munro.rewards.service import GradingService
from munro.rewards.service.meter import Meter, merged
from tests.rewards.family import children, descendants
from tests.rewards.graders import POINTS, Obedient
from tests.rewards.plugged import installed


@pytest.fixture(autouse=True)
def _known(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(installed(tmp_path, "munro.graders", **POINTS))
    Obedient.gate.clear()
    Obedient.fails.clear()


def started(**pool):
    sizes = PoolConfig(**{"workers": 2, "timeout_s": 1, "deadline_s": 60, **pool})
    return GradingService(ServiceConfig(pools={"child": sizes, "here": sizes, "jointly": sizes}))


def said(response, **more):
    return {"response": response, **more}


def why(graders, kind, response):
    with pytest.raises(GraderError) as failure:
        graders.grade(kind, said(response))
    return str(failure.value)


@pytest.mark.parametrize("kind", ["child", "here"])
def test_a_grade_comes_back_as_the_grader_made_it(kind):
    with started() as graders:
        assert graders.grade(kind, said("worth 0.25")).reward == 0.25
        assert graders.grade(kind, said("worth 0.25"), options={"bonus": 1}).reward == 1.25
        grades = graders.grade_group(kind, [said(f"worth {n}") for n in range(20)], group="g")
        assert [grade.reward for grade in grades] == list(range(20))


def test_responses_that_are_compared_are_graded_together():
    with started() as graders:
        grades = graders.grade_group("jointly", [said("a"), said("abc"), said("ab")])
        assert [grade.passed for grade in grades] == [False, True, False]


def test_whatever_kills_or_outlives_a_grader_is_a_failure_with_a_name_and_the_next_is_graded():
    with started(workers=1, timeout_s=2) as graders:
        assert why(graders, "child", "die").startswith(
            "child: the grading killed its process twice"
        )
        assert "ran out of time" in why(graders, "child", "loop")
        assert "ran out of memory" in why(graders, "child", "allocate")
        assert "raised an error (KeyError: 'oops')" in why(graders, "child", "bug")
        assert why(graders, "child", "broken") == "the machinery failed"
        assert graders.grade("child", said("worth 3")).reward == 3


def test_an_input_that_killed_its_grader_twice_is_not_tried_for_ever():
    with started(workers=1, timeout_s=0.3) as graders:
        why(graders, "child", "die")
        assert "has killed its grader twice before" in why(graders, "child", "die")
        for _ in range(2):
            assert "ran out of time" in why(graders, "child", "sleep 60")
        assert "has killed its grader twice before" in why(graders, "child", "sleep 60")
        assert graders.grade("child", said("worth 1")).reward == 1


def test_a_grader_process_killed_from_outside_is_replaced_and_its_work_done_again():
    strangers = children()
    with started(workers=1, timeout_s=30) as graders:
        graders.grade("child", said("worth 1"))
        future = graders.submit("child", said("sleep 1"))
        (grading,) = [
            child
            for child in descendants(strangers)
            if not child.children() and child.ppid() != os.getpid()
        ]
        time.sleep(0.2)
        grading.send_signal(signal.SIGKILL)
        assert future.result(60).passed


def test_an_item_that_no_grader_can_use_is_the_callers_mistake():
    with started() as graders:
        with pytest.raises(ValueError, match="'response' is missing"):
            graders.grade("here", {})
        with pytest.raises(ValueError, match="'note' is not a text"):
            graders.grade("child", said("x", note=1))
        for kind in ("child", "here"):
            with pytest.raises(ValueError, match="says that it is unusable"):
                graders.grade(kind, said("unusable"))
        with pytest.raises(ValueError, match="no option 'bonsu'"):
            graders.grade("here", said("x"), options={"bonsu": 1})
        with pytest.raises(ValueError, match="Did you mean 'math'"):
            graders.grade("maths", said("x"))


def test_a_failure_of_the_machinery_is_tried_once_more():
    with started() as graders:
        assert graders.grade("here", said("fail a 1")).passed
        assert why(graders, "here", "fail b 9") == "not yet"
        assert Obedient.fails["b"] == 2
        assert "the grader raised KeyError" in why(graders, "here", "bug")


def test_a_grader_that_never_comes_back_loses_its_place_and_the_rest_is_graded():
    with started(workers=1, deadline_s=2) as graders:
        assert why(graders, "here", "wait") == "here: no grade within 2 s"
        assert graders.grade("here", said("worth 5")).reward == 5
        Obedient.gate.set()
        assert graders.grade("here", said("worth 6")).reward == 6


def test_who_waits_in_vain_is_told_what_to_raise():
    with started(workers=1, deadline_s=1) as graders:
        first = graders.submit("here", said("wait"))
        time.sleep(0.5)
        second = graders.submit("here", said("wait"))
        with pytest.raises(GraderError, match="no grade within"):
            first.result(30)
        with pytest.raises(GraderError):
            second.result(30)
        Obedient.gate.set()


def test_a_full_queue_makes_the_caller_wait():
    with started(workers=1, queue=1) as graders:
        waiting = [graders.submit("here", said("wait"))]
        while graders._pools["here"]._lanes._queue:
            time.sleep(0.01)
        waiting.append(graders.submit("here", said("worth 1")))
        late = []
        thread = threading.Thread(
            target=lambda: late.append(graders.submit("here", said("worth 2")))
        )
        thread.start()
        thread.join(0.3)
        assert late == []
        Obedient.gate.set()
        thread.join(30)
        assert [future.result(30).reward for future in (*waiting, *late)] == [1, 1, 2]


def test_a_poisoned_group_does_not_hold_up_another_kind_or_another_group():
    with started(workers=2, timeout_s=0.2) as graders:
        graders.grade("child", said("worth 0"))
        poison = [graders.submit("child", said(f"sleep {60 + n}"), group="bad") for n in range(24)]
        assert graders.grade("here", said("worth 1")).reward == 1
        good = [graders.submit("child", said(f"worth {n}"), group="good") for n in range(20)]
        assert [future.result(60).reward for future in good] == list(range(20))
        # time-outs of a wall second, two at once, would have taken twelve
        assert [future for future in poison if not future.done()]
        assert "ran out of time" in str(poison[0].exception(60))


def test_closing_answers_all_that_waits():
    graders = started(workers=1)
    futures = [graders.submit("here", said("wait")) for _ in range(3)]
    graders.close()
    assert {str(future.exception(30)) for future in futures} == {
        "the grading service was closed meanwhile"
    }
    with pytest.raises(GraderError, match="is closed"):
        graders.grade("here", said("worth 1"))
    Obedient.gate.set()


def test_the_metrics_count_since_they_were_last_asked_for():
    with started() as graders:
        graders.grade("here", said("worth 1"))
        why(graders, "here", "broken")
        found = graders.metrics()
        assert (found["grade/here/graded"], found["grade/here/failed"]) == (1, 1)
        assert found["grade/here/per_s"] > 0
        assert found["grade/here/seconds"] >= 0 <= found["grade/here/queue_s"]
        assert graders.metrics()["grade/here/graded"] == 0


def test_metrics_of_several_services_add_up():
    several = [Meter(), Meter()]
    several[0].count("math", queue_s=1.0, seconds=2.0)
    for _ in range(3):
        several[1].count("math", queue_s=5.0, seconds=6.0)
    several[1].count("code", queue_s=1.0, seconds=1.0, failed=True)
    found = merged([meter.take() for meter in several])
    assert found["grade/math/graded"] == 4
    assert found["grade/math/queue_s"] == 4.0
    assert found["grade/math/seconds"] == 5.0
    assert found["grade/code/failed"] == 1


def test_a_process_has_one_service_that_graders_by_name_work_through():
    graders = started()
    service.use(graders)
    try:
        assert service.grade("here", said("worth 2")).reward == 2
        with service.grader("here", bonus=1) as grader:
            assert grader.grade(said("worth 2", task_id="t")).reward == 3
        joint = service.grader("jointly")
        assert [g.passed for g in joint.grade_group([said("a"), said("ab")])] == [False, True]
        assert not hasattr(grader, "grade_group")
        with pytest.raises(ValueError, match="no option"):
            service.grader("here", malus=1)
        assert graders.metrics()["grade/here/graded"] == 2
    finally:
        service.close()


async def test_the_service_answers_an_event_loop_too():
    with started() as graders:
        futures = [graders.submit("here", said(f"worth {n}")) for n in range(5)]
        grades = await asyncio.gather(*map(asyncio.wrap_future, futures))
        assert [grade.reward for grade in grades] == [0, 1, 2, 3, 4]
