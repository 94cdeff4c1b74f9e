"""Records with boring defaults, so that a test states only what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from munro.envs.types import Ending, KeptTokens, Message, Task, Trajectory
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade
from munro.rollout.telling import told
from munro.rollout.types import Abandoned, Attempt, Group, Outcome, Reason


def make_task(id: str = "17+25", **fields: Any) -> Task:
    """A sum to solve."""
    defaults: dict[str, Any] = {
        "prompt": f"What is {id}?",
        "payload": {"answer": "42"},
        "env": "arithmetic",
    }
    return Task(id=id, **(defaults | fields))


def make_kept(sampled: Sequence[bool], token_ids: Sequence[int], width: int = 2) -> KeptTokens:
    """A nucleus of the token itself and the `width - 1` next ids, at sampled positions only."""
    ids: list[int] = []
    starts = [0]
    for is_sampled, token in zip(sampled, token_ids, strict=True):
        ids.extend(range(token, token + width) if is_sampled else [])
        starts.append(len(ids))
    return KeptTokens(ids=np.array(ids, np.int32), starts=np.array(starts, np.int32))


def make_trajectory(
    reply_ids: Sequence[int] = (5, 6, 7),
    *,
    prompt_ids: Sequence[int] = (1, 2, 3, 4),
    logp: float = -0.5,
    version: int = 0,
    nucleus: bool = False,
    **fields: Any,
) -> Trajectory:
    """One turn: a prompt, then a reply sampled token by token at one log-probability."""
    token_ids = [*prompt_ids, *reply_ids]
    sampled = np.array([False] * len(prompt_ids) + [True] * len(reply_ids))
    defaults: dict[str, Any] = {
        "token_ids": np.array(token_ids, np.int32),
        "sampled": sampled,
        "behaviour_logp": np.where(sampled, logp, 0).astype(np.float32),
        "kept": make_kept(list(sampled), token_ids)
        if nucleus
        else KeptTokens.nothing(len(token_ids)),
        "versions": np.where(sampled, version, -1).astype(np.int32),
        "ending": Ending.ANSWERED,
        "messages": (Message(role="assistant", content="42"),),
        "reply": "42",
    }
    return Trajectory(**(defaults | fields))


def make_attempt(
    reward: float = 1.0, *, trajectory: Trajectory | None = None, passed: bool | None = None
) -> Attempt:
    """An attempt whose total reward is its task reward; it passed where that is positive."""
    return Attempt(
        trajectory=trajectory or make_trajectory(),
        grade=Grade(reward=reward, passed=reward > 0 if passed is None else passed),
        reward=RewardBreakdown(task=reward, total=reward),
    )


def make_group(*rewards: float, index: int = 0, task: Task | None = None, **fields: Any) -> Group:
    """A group with these rewards (one success and one failure where none are given)."""
    attempts = tuple(make_attempt(reward) for reward in rewards or (1.0, 0.0))
    defaults: dict[str, Any] = {
        "attempts": attempts,
        "early_pass_rate": sum(attempt.grade.solved for attempt in attempts) / len(attempts),
    }
    return Group(index=index, task=task or make_task(), **(defaults | fields))


def make_abandoned(reason: Reason = Reason.TOO_HARD_EARLY, **fields: Any) -> Abandoned:
    """A task that was given up."""
    return Abandoned(**({"index": 0, "task": make_task(), "reason": reason} | fields))


def tell(found: Group | Abandoned) -> Outcome:
    """What the driver is told of it, where nothing is trained."""
    return told(found, None)
