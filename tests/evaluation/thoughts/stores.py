"""Rollout stores with replies that a test writes, through the store's own code."""

from __future__ import annotations

import random
import re
from dataclasses import replace

from munro.envs.types import Message, ToolCall
from munro.rollout.store.store import RolloutStore
from tests.builders import make_attempt, make_group, make_task, make_trajectory

WORDS = re.findall(
    r"\w+",
    """so the sum of both is then taken and we add it to what was left over from before which gives
    an even number that we divide by two and write down as the result of this part""",
)


def plain(chosen: random.Random, length: int = 40) -> str:
    """A reply that shows nothing that is looked for."""
    return " ".join(chosen.choices(WORDS, k=length))


def attempt(text, calls=()):
    """One attempt: a text, and calls of tools as (name, arguments)."""
    made = tuple(
        ToolCall(id=f"c{at}", name=name, arguments=arguments)
        for at, (name, arguments) in enumerate(calls)
    )
    message = Message(role="assistant", content=text, tool_calls=made, is_sampled=True)
    told = make_trajectory(messages=(message,), reply=text)
    return make_attempt(trajectory=told)


def store(folder, replies, *, each: int = 4):
    """A store of these.

    Args:
        folder: to write it into.
        replies: by step, texts, (text, calls), or attempts.
        each: attempts of a group.
    """
    made = RolloutStore(folder)
    for step, some in replies.items():
        attempts = [
            one
            if hasattr(one, "trajectory")
            else attempt(*((one,) if isinstance(one, str) else one))
            for one in some
        ]
        groups = []
        for at in range(0, len(attempts), each):
            group = make_group(index=1000 * step + at, task=make_task(id=f"task {step}/{at}"))
            groups.append(replace(group, attempts=tuple(attempts[at : at + each])))
        made.write(step, groups, [[0.0] * len(group.attempts) for group in groups])
    return folder
