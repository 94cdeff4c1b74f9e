"""GDPO: each part of the reward in its own standard deviations, then weighted and added.

GDPO, arXiv:2601.05242: of a sum, only its deviation over the group is left, so attempts that earn
it by different parts become the same number, and a part that varies widely drowns the others.
(Its division by the deviation over a whole batch is left out: an advantage here sees one group.)

    [learner]
    advantage = "gdpo"
    advantage_parts = { liked = 1.0, "policy/compliance" = 2.0, length = -0.25 }

What is paid by a gate or by priorities is no sum of parts, and this passes both by: off by default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean, pstdev

from munro.rewards.plugins import BadPlugin
from munro.rl.config import OF_TOTAL
from munro.rollout.types import Attempt, Group


def gdpo(group: Group, *, parts: Mapping[str, float], eps: float = 1e-6) -> list[float]:
    """A_i = sum over parts k of w_k (r_ik - mean r_k) / (std r_k + eps), in the attempts' order.

    The deviation is the population one. A part on which the group agrees adds nothing.

    Args:
        group: all attempts at one task.
        parts: weight of each part: of the grade ("liked", "policy/engagement"), or of the total
            (`munro.rl.config.OF_TOTAL`; penalties count as they are measured: negative weights).
        eps: added to each deviation.

    Raises:
        BadPlugin: no parts, or an attempt lacks one.
        ValueError: a part is not finite.
    """
    if not parts:
        raise BadPlugin("learner.advantage_parts is empty: gdpo needs a weight for each part.")
    advantages = [0.0] * len(group.attempts)
    for name, weight in parts.items():
        values = [_value(attempt, name, group.task.id) for attempt in group.attempts]
        if min(values) == max(values):
            continue
        mean, std = fmean(values), pstdev(values)
        for place, value in enumerate(values):
            advantages[place] += weight * (value - mean) / (std + eps)
    return advantages


def _value(attempt: Attempt, name: str, task: str) -> float:
    value = attempt.grade.parts.get(name)
    if value is None and name in OF_TOTAL:
        value = getattr(attempt.reward, name)
    if value is None:
        there = ", ".join([*attempt.grade.parts, *OF_TOTAL])
        raise BadPlugin(
            f"learner.advantage_parts names {name!r}, which an attempt at task {task!r} has not: "
            "what stands behind a gate is not scored where it is closed. Combine by a sum, or name "
            f"what each attempt has ({there})."
        )
    if not math.isfinite(value):
        raise ValueError(f"task {task!r}: {name} must be finite, got {value}")
    return float(value)
