"""Answers into classes of equal ones, and votes over classes: 1/2 and 0.5 are one answer.

Each answer is compared with one of each class, both ways round. What cannot be read is no answer:
it joins no class and never wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from munro.rewards.math import BadReference, reference_in, verify
from munro.rewards.math.answers import clean

Same = Callable[[str, str], bool]
INTEGER = re.compile(r"-?[0-9]{1,18}")
SOMETHING = "<answer>0</answer>"
"""What an answer is compared with to find out whether it can be read."""


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
        same: whether two answers are one, asked both ways round; mathematics unless given.

    Raises:
        GraderError: two answers could not be compared.
    """
    classes = classes_of(answers, same or equal)
    most = max((len(members) for members in classes), default=0)
    winners = [members for members in classes if len(members) == most]
    if len(winners) != 1:
        return Consensus(answer="", votes=most, attempts=len(answers), members=())
    (members,) = winners
    return Consensus(
        answer=answers[members[0]], votes=most, attempts=len(answers), members=tuple(members)
    )


def classes_of(answers: Sequence[str], same: Same) -> list[list[int]]:
    """The places of equal answers, by their first; of those that cannot be read, none."""
    classes: list[list[int]] = []
    for place, answer in enumerate(answers):
        if not can_be_read(answer):
            continue
        for members in classes:
            held = answers[members[0]]
            if answer == held or (same(answer, held) and same(held, answer)):
                members.append(place)
                break
        else:
            classes.append([place])
    return classes


def equal(one: str, other: str) -> bool:
    """Whether an answer is another one, as mathematics or word for word.

    Raises:
        GraderError: it could not be found out.
    """
    plainly = at_a_glance(one, other)
    if plainly is not None:
        return plainly
    try:
        return bool(verify(tagged(one), other).passed)
    except BadReference:
        return False


def at_a_glance(one: str, other: str) -> bool | None:
    """Whether two answers are one, where that takes no reading of either; None where it does."""
    one, other = clean(one), clean(other)
    if one.casefold() == other.casefold():
        return True
    is_plain = INTEGER.fullmatch(one) and INTEGER.fullmatch(other)
    return int(one) == int(other) if is_plain else None


@lru_cache(65536)
def can_be_read(answer: str) -> bool:
    """Whether rules make anything of an answer: a value, a choice, words.

    Raises:
        GraderError: it could not be found out.
    """
    try:
        verify(SOMETHING, tagged(answer))
    except BadReference:
        return False
    return True


def tagged(answer: str) -> str:
    """A reply whose final answer this is."""
    return f"<answer>{answer}</answer>"


def bare(answer: str) -> str:
    """An answer without the marks that data sets and tiers put around it."""
    try:
        return reference_in(answer)
    except BadReference:
        return clean(answer) or answer
