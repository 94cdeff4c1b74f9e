"""Certain attempts of certain tasks: what an evaluation asks that goes on where it stopped."""

from __future__ import annotations

from munro.rewards.errors import GraderError
from munro.rollout.types import Abandoned, Group, Reason
from tests.rollout.problem.test_worker import TASK, Flaky, Sum, numbered, policy, worker


async def test_an_attempt_is_the_same_alone_and_among_all():
    every = await worker(numbered(), Sum()).evaluate([(-1, TASK, 50), (-2, TASK, 50)], 4, version=0)
    items = [(-1, TASK, 50, [3]), (-2, TASK, 50, [0, 2])]
    engine = numbered()
    first, second = await worker(engine, Sum()).attempts(items, version=0)
    assert engine.calls == [[(-2, 0, 0, 0), (-2, 2, 0, 0), (-1, 3, 0, 0)]]
    assert isinstance(first, Group)
    assert [one.trajectory.reply for one in first.attempts] == [
        every[0].attempts[3].trajectory.reply
    ]
    assert [one.trajectory.reply for one in second.attempts] == [
        every[1].attempts[number].trajectory.reply for number in (0, 2)
    ]


async def test_a_task_that_is_given_up_leaves_the_others():
    told = await worker(policy(lambda n: True), Flaky(GraderError("judge away"), 9)).attempts(
        [(-1, TASK, 50, [0])], version=0
    )
    assert isinstance(told[0], Abandoned)
    assert told[0].reason is Reason.UNSCORED
