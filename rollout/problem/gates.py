"""The gates: which tasks are neither too hard nor too easy to learn from (report, 3.1.2)."""

from __future__ import annotations

from munro.rollout.config import RolloutConfig
from munro.rollout.problem.attempts import Account, Problem
from munro.rollout.types import Abandoned, Reason


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


def abandoned(
    problem: Problem, account: Account, reason: Reason, pass_rate: float | None = None
) -> Abandoned:
    """The task as given up, with what was spent on it.

    Args:
        problem: the task.
        account: of all its attempts.
        reason: why.
        pass_rate: where another one counts than that of the account.
    """
    return Abandoned(
        index=problem.index,
        task=problem.task,
        reason=reason,
        detail=account.last_failure,
        pass_rate=account.pass_rate if pass_rate is None else pass_rate,
        num_attempts=len(account.played),
        num_unscored=account.num_unscored,
        num_sampled=sum(one.trajectory.num_sampled for one in account.played),
    )
