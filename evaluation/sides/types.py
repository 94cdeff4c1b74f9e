"""What the parts of a side-by-side study hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

SCALE = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
"""Seven points of preference, from the left answer to the right one; a rater sends 1 to 7."""
GRADES = (0, 1, 2)
"""Of each criterion on each side: a major issue, a minor one, none."""
SIDES = ("left", "right")

Talk = tuple[Mapping[str, str], ...]
"""A conversation: [{role, content}], the last of which is to be answered."""


class BadSides(ValueError):
    """Something about a side-by-side study that a person must settle; one sentence."""

    is_sentence = True


class Kind(StrEnum):
    """What a look is for. The server and its page are not told."""

    FIRST = "first"
    AGAIN = "again"
    """The same pair later, sides changed: does the rater agree with himself?"""
    CHECK = "check"
    """One of the two answers is plainly wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One rater's look at one pair.

    Example:
        Look(pair=17, a_left=True, kind=Kind.FIRST)
    """

    pair: int
    a_left: bool
    """Whether A's answer is on the left; of a check, the good one."""
    kind: Kind = Kind.FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two answers to one prompt.

    Example:
        Pair(task="sums/1+1", prompt=({"role": "user", "content": "1+1?"},), a="2", b="Two.")
    """

    task: str
    prompt: Talk
    a: str
    b: str
    subset: str = ""
    is_check: bool = False
    """`a` is the good one, and `b` plainly wrong."""
