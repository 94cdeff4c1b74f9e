"""One whole episode without a model: fixed replies, or a policy that is a plain function."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from munro.envs.base import Environment, Policy, as_grade, call, heard
from munro.envs.tool_use import spoken
from munro.envs.types import CallRecord, Ending, KeptTokens, Message, Task, Trajectory
from munro.rewards.types import Grade

MOST_TURNS = 1000
"""Turns of a policy that does not end, where no budget says."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of an episode."""

    grade: Grade
    grade_ms: float
    """Wall milliseconds spent on grading."""
    trajectory: Trajectory
    """The texts, and tokens that stand for nothing (one for the prompt, one for each message)."""

    @property
    def said(self) -> tuple[str, ...]:
        """What the policy said, one text a turn, its calls included."""
        return tuple(map(shown, (m for m in self.trajectory.messages if m.role == "assistant")))


async def play(
    environment: Environment, task: Task, replies: Sequence[str | Message] | Policy
) -> tuple[Grade, float]:
    """As `played`: the grade, and ms spent on grading."""
    done = await played(environment, task, replies)
    return done.grade, done.grade_ms


async def played(
    environment: Environment, task: Task, replies: Sequence[str | Message] | Policy
) -> Played:
    """One whole episode in which the policy says `replies`, a text or a message a turn.

    Raises:
        Exception: what the environment raised; the episode is closed all the same.
    """
    episode = await call(environment.start, task)
    try:
        said: list[Message] = []
        seen: list[Message] = []
        calls: list[CallRecord] = []
        ending = Ending.TRUNCATED_TURNS
        for turn in range(_most(environment, task, replies)):
            said.append(await _turn(replies, turn, tuple(seen)))
            began = time.monotonic()
            answered = await call(episode.reply, said[-1])
            spent = time.monotonic() - began
            observations, records = heard(turn, said[-1], answered, spent)
            calls += records
            if observations is None:
                ending = Ending.ANSWERED
                break
            said += observations
            seen += observations
        trajectory = _trajectory(said, ending, calls)
        began = time.perf_counter()
        grade = as_grade(await call(episode.grade, trajectory))
        return Played(grade, 1000 * (time.perf_counter() - began), trajectory)
    finally:
        await call(episode.close)


async def opened_and_closed(environment: Environment, task: Task) -> None:
    """An episode that is given up before its first turn."""
    episode = await call(environment.start, task)
    await call(episode.close)


def gold_of(environment: Environment, task: Task) -> tuple[str, ...]:
    """The gold reply, one text per turn; empty where none is known."""
    gold = asyncio.run(call(environment.gold_reply, task))
    if gold is None:
        return ()
    return (gold,) if isinstance(gold, str) else tuple(gold)


def gold_policy_of(environment: Environment, task: Task) -> Policy | None:
    """The gold policy; None where there is none."""
    policy: Policy | None = asyncio.run(call(environment.gold_policy, task))
    return policy


def shown(message: Message) -> str:
    """A turn as one text, its calls included."""
    calls = [f"{made.name}({made.arguments})" for made in message.tool_calls if not message.raw]
    return "\n".join(filter(None, [message.text, *calls]))


async def _turn(
    replies: Sequence[str | Message] | Policy, turn: int, seen: tuple[Message, ...]
) -> Message:
    said = await call(replies, seen) if callable(replies) else replies[turn]
    if isinstance(said, str):
        return spoken(said, turn)
    if isinstance(said, Message):
        return said
    raise TypeError(f"the policy said {said!r:.60} ({type(said).__name__}): a Message, or a text")


def _most(environment: Environment, task: Task, replies: Sequence[str | Message] | Policy) -> int:
    if not callable(replies):
        return len(replies)
    budget = environment.budget if task.budget is None else task.budget.over(environment.budget)
    return budget.turns or MOST_TURNS


def _trajectory(said: Sequence[Message], ending: Ending, calls: Sequence[CallRecord]) -> Trajectory:
    sampled = np.array([False, *(message.role == "assistant" for message in said)])
    num_tokens = len(sampled)
    return Trajectory(
        token_ids=np.zeros(num_tokens, np.int32),
        sampled=sampled,
        behaviour_logp=np.zeros(num_tokens, np.float32),
        kept=KeptTokens.nothing(num_tokens),
        versions=np.where(sampled, 0, -1).astype(np.int32),
        ending=ending,
        messages=tuple(said),
        reply=next((m.text for m in reversed(said) if m.role == "assistant"), ""),
        calls=tuple(calls),
    )
