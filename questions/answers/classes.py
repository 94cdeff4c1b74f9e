"""Answers into classes of equal ones, and votes over classes: 1/2 and 0.5 are one answer.

Each answer is compared with one of each class, both ways round. What cannot be read is no answer:
it joins no class and never wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from munro.rewards.errors import GraderError
from munro.rewards.math import verify
from munro.rewards.math.answers import clean

Same = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """What most attempts agree on.

    Example:
        consensus(["1/2", "0.5", "2"])    # answer "1/2" with 2 votes of 3, members (0, 1)
    """

    answer: str
    """The first of its class; empty where there is none, or two classes have as many votes."""
    votes: int
    attempts: int
    members: tuple[int, ...]
    """Which attempts, by their place."""


def consensus(answers: Sequence[str], same: Same | None = None) -> Consensus:
    """The class with the most votes.

    Args:
        answers: of all attempts; an empty one is an attempt without an answer.
        same: whether two answers are one; mathematics unless given.
    """
    same = same or equal
    classes: list[list[int]] = []
    for place, answer in enumerate(answers):
        if not clean(answer):
            continue
        for members in classes:
            held = answers[members[0]]
            if answer == held or (same(answer, held) and same(held, answer)):
                members.append(place)
                break
        else:
            classes.append([place])
    most = max((len(members) for members in classes), default=0)
    winners = [members for members in classes if len(members) == most]
    if len(winners) != 1:
        return Consensus(answer="", votes=most, attempts=len(answers), members=())
    (members,) = winners
    return Consensus(
        answer=answers[members[0]], votes=most, attempts=len(answers), members=tuple(members)
    )


def equal(one: str, other: str) -> bool:
    """Whether two answers are the same as mathematics, or word for word."""
    if clean(one).casefold() == clean(other).casefold():
        return True
    try:
        return bool(verify(f"<answer>{one}</answer>", other).passed)
    except GraderError:  # the other one cannot be read as an answer
        return False
