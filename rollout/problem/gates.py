"""The gates: which tasks are neither too hard nor too easy to learn from (report, 3.1.2)."""

from __future__ import annotations

from munro.rewards.combine.compose import RewardBreakdown
from munro.rollout.config import RolloutConfig
from munro.rollout.problem.attempts import Account, Played, Problem
from munro.rollout.types import Abandoned, Attempt, Group, Reason


def early(config: RolloutConfig, pass_rate: float) -> Reason | None:
    """Why the first attempts end the task; None where it goes on."""
    low, high = config.early_pass_rate
    if low <= pass_rate <= high:
        return None
    return Reason.TOO_HARD_EARLY if pass_rate < low else Reason.TOO_EASY_EARLY


def final(config: RolloutConfig, pass_rate: float) -> Reason | None:
    """Why the finished group is given up; None where it is not."""
    low, high = config.pass_rate
    if low <= pass_rate <= high:
        return None
    return Reason.TOO_HARD if pass_rate < low else Reason.TOO_EASY


MOST_ATTEMPTS = 16
"""Of a dropped group that people are shown."""


def abandoned(
    problem: Problem,
    account: Account,
    reason: Reason,
    config: RolloutConfig,
    group: Group | None = None,
) -> Abandoned:
    """The task as given up, with what was spent on it.

    Args:
        problem: the task.
        account: of all its attempts.
        reason: why.
        config: whether attempts are kept.
        group: what was given up, where it was finished; its pass rate counts then.
    """
    attempts = [_graded(one) for one in account.played] if group is None else group.attempts
    shown = attempts[:MOST_ATTEMPTS] if config.keep_dropped else ()
    return Abandoned(
        index=problem.index,
        task=problem.task,
        reason=reason,
        detail=account.last_failure,
        pass_rate=account.pass_rate if group is None else group.pass_rate,
        num_attempts=len(account.played),
        num_unscored=account.num_unscored,
        num_sampled=sum(one.trajectory.num_sampled for one in account.played),
        attempts=tuple(one.to_read for one in shown),
    )


def _graded(played: Played) -> Attempt:
    """An attempt that is paid nothing: its reward is what the grader said, and no other part."""
    paid = RewardBreakdown(task=played.grade.reward, total=played.grade.reward)
    return Attempt(trajectory=played.trajectory, grade=played.grade, reward=paid)
