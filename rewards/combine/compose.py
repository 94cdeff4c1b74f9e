"""The reward of one attempt: every part kept apart until the last moment.

MAI-Thinking-1 report, Eq. 10: `R = R_task + w_lang * R_lang - w_len * R_len`. Two more parts, which
the report does not have, are measured beside them and cost nothing unless their weights are set.
"""

from __future__ import annotations

from dataclasses import dataclass

from munro.rewards.config import RewardsConfig
from munro.rewards.types import Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardBreakdown:
    """What the learner is paid, and what for.

    Example:
        RewardBreakdown(task=1.0, language=1.0, length=0.1, total=1.475)
    """

    task: float
    """R_task: what the grader said."""
    language: float = 0.0
    """R_lang in [0, 1]: 1 for a chain of thought in one language."""
    length: float = 0.0
    """R_len in [0, 1]: share of the token cap spent, times the task's pass rate."""
    repetition: float = 0.0
    """Share of the response that repeats itself, in [0, 1]."""
    truncation: float = 0.0
    """1 where a limit cut the response short, else 0."""
    total: float
    """R, which advantages are made of."""


def compose(
    grade: Grade,
    *,
    language: float,
    length: float,
    repetition: float = 0.0,
    truncation: float = 0.0,
    config: RewardsConfig,
) -> RewardBreakdown:
    """Add up one attempt's reward.

    Args:
        grade: the grader's judgement.
        language: `munro.rewards.language.consistency` of the chain of thought.
        length: `munro.rewards.length.penalty` of the response, or `munro.rewards.length.alp`.
        repetition: `munro.rewards.repetition.share` of the response.
        truncation: 1 where a limit cut the response short.
        config: the weights.
    """
    total = grade.reward + config.language_weight * language - config.length_weight * length
    total -= config.repetition_weight * repetition + config.truncation_weight * truncation
    return RewardBreakdown(
        task=grade.reward,
        language=language,
        length=length,
        repetition=repetition,
        truncation=truncation,
        total=total,
    )
