"""Of a task that is given up, the replies that had a grade come along, for people to read."""

from __future__ import annotations

import pytest

from munro.rewards.errors import GraderError
from munro.rollout.problem.gates import MOST_ATTEMPTS
from munro.rollout.types import Reason
from tests.rollout.problem.test_worker import CONFIG, Flaky, Ranked, numbered, policy, solved


async def test_what_the_first_gate_drops_comes_with_its_replies_and_its_graders_word():
    given_up = await solved(policy(lambda attempt: False))
    assert given_up.reason is Reason.TOO_HARD_EARLY
    assert len(given_up.attempts) == given_up.num_attempts == CONFIG.num_early
    for attempt in given_up.attempts:
        assert not attempt.grade.solved
        assert attempt.reward.total == attempt.grade.reward
        told = attempt.trajectory
        assert told.reply
        # the nucleus is most of a trajectory's bytes, and nobody learns from these
        assert not len(told.kept.ids)
        assert len(told.kept.starts) == len(told.token_ids) + 1


async def test_what_the_second_gate_drops_comes_with_the_rewards_of_its_group():
    config = CONFIG.model_copy(
        update={"early_pass_rate": (0.0, 1.0), "pass_rate": (0.9, 1.0), "group_size": 20}
    )
    given_up = await solved(numbered(), config=config)
    assert given_up.reason is Reason.TOO_HARD
    assert len(given_up.attempts) == MOST_ATTEMPTS < given_up.num_attempts == 20
    group = given_up.as_group
    assert (group.index, group.task, group.attempts) == (3, given_up.task, given_up.attempts)
    assert group.early_pass_rate == given_up.pass_rate


async def test_where_nothing_is_kept_nothing_is_sent():
    config = CONFIG.model_copy(update={"keep_dropped": 0})
    assert (await solved(policy(lambda attempt: False), config=config)).attempts == ()


@pytest.mark.parametrize("environment", [Flaky(GraderError("no"), 99), Ranked(GraderError("no"))])
async def test_what_got_no_grade_is_not_among_them(environment):
    given_up = await solved(policy(lambda attempt: attempt % 2 == 0), environment)
    assert given_up.reason is Reason.UNSCORED
    assert all(attempt.grade is not None for attempt in given_up.attempts)
    assert len(given_up.attempts) == given_up.num_attempts
