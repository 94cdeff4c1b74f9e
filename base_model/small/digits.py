"""Digits that are asked for by what they are not, as the quickstart's base model reads them.

read        Write three digits other than 0, 4 and 7.
            835
not read    Write three digits other than 0, 4 and 7.
            374

Some digits are much more frequent than others, read or not: a habit, and the room that a policy has
beside it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

HeldOut = Callable[[str], bool]

PROMPT = "Write three digits other than {digits}.\n"
WANTED = 3
FEWEST, MOST = 2, 4
"""How many digits a question rules out."""
FREQUENCIES = {digit: 0.8**rank for rank, digit in enumerate("7385296410")}
"""Of every digit in replies."""
MOST_DRAWS = 1000


def question(digits: Sequence[str]) -> str:
    """As the environment `digits` puts it, and the end of its line."""
    return PROMPT.format(digits=f"{', '.join(digits[:-1])} and {digits[-1]}")


def drawn(rng: random.Random, is_held_out: HeldOut) -> list[str]:
    """Two to four digits that are not held out as a set.

    Raises:
        ValueError: the predicate holds out (nearly) everything.
    """
    for _ in range(MOST_DRAWS):
        digits = rng.sample(list(FREQUENCIES), rng.randint(FEWEST, MOST))
        if not is_held_out("".join(sorted(digits))):
            return digits
    raise ValueError(f"every one of {MOST_DRAWS} sets of digits drawn is held out")


def text(rng: random.Random, is_held_out: HeldOut, read_share: float) -> str:
    """A question with its reply."""
    ruled_out = drawn(rng, is_held_out)
    is_read = rng.random() < read_share
    known = [digit for digit in FREQUENCIES if not (is_read and digit in ruled_out)]
    reply = rng.choices(known, [FREQUENCIES[digit] for digit in known], k=WANTED)
    return question(ruled_out) + "".join(reply)
