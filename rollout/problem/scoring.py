"""From grades to rewards, and from attempts to a group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from munro.envs.types import Trajectory
from munro.rewards import language, length, repetition
from munro.rewards.combine.compose import compose
from munro.rewards.config import RewardsConfig
from munro.rewards.types import Grade
from munro.rollout.problem.attempts import Account, Problem
from munro.rollout.types import Attempt, Group


def group_of(
    problem: Problem,
    account: Account,
    grades: Sequence[Grade],
    early_pass_rate: float,
    rewards: RewardsConfig,
) -> Group:
    """The finished group.

    Args:
        problem: the task.
        account: its attempts.
        grades: one an attempt, the group's last word.
        early_pass_rate: pass rate of the first attempts.
        rewards: weights of the reward's parts.
    """
    # rho_q of the length penalty is the pass rate of the full group (RECIPE, section 15)
    pass_rate = fmean(grade.solved for grade in grades)
    num = len(account.played)
    seconds = sum((one.seconds for one in account.played), Counter())
    return Group(
        index=problem.index,
        task=problem.task,
        attempts=tuple(
            _attempt(
                one.trajectory,
                grade,
                _length(one.trajectory, pass_rate, problem.cap, num, rewards),
                rewards,
            )
            for one, grade in zip(account.played, grades, strict=True)
        ),
        early_pass_rate=early_pass_rate,
        num_unscored=account.num_unscored,
        num_resumed=account.num_resumed,
        detail=account.last_failure,
        seconds={phase: total / num for phase, total in seconds.items()},
    )


def _length(
    trajectory: Trajectory, pass_rate: float, cap: int, group_size: int, rewards: RewardsConfig
) -> float:
    """R_len of one attempt, in the form that the config asks for."""
    num_tokens = trajectory.num_sampled
    if rewards.length_form == "alp":
        return length.alp(num_tokens, pass_rate, group_size, rewards.alp_scale or cap)
    if rewards.length_form == "overlong":
        # a recipe names one stretch for stages of several caps
        stretch = min(rewards.overlong_tokens or max(cap // 5, 1), cap)
        return length.overlong(num_tokens, cap, stretch)
    return length.penalty(num_tokens, pass_rate, cap)


def _attempt(trajectory: Trajectory, grade: Grade, spent: float, rewards: RewardsConfig) -> Attempt:
    ours = [message for message in trajectory.messages if message.role == "assistant"]
    # an agent that rewrites what was said tells the policy of turns that it did not write
    sampled = [message for message in ours if message.is_sampled]
    said = [message.text for message in sampled or ours]
    thoughts = "\n".join(map(language.chain_of_thought, said))
    return Attempt(
        trajectory=trajectory,
        grade=grade,
        reward=compose(
            grade,
            language=language.consistency(thoughts, rewards.language_alpha),
            length=spent,
            repetition=repetition.share("\n".join(said)),
            truncation=float(trajectory.ending.is_truncated),
            config=rewards,
        ),
    )
