"""Digits out of those that are named, as the quickstart's base model reads them.

read        Write four digits out of 0, 4, 7 and 8.
            8740
not read    Write four digits out of 0, 4, 7 and 8.
            3758

Some digits are much more frequent than others, read or not: a habit, and the room that a policy has
beside it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from munro.base_model.small.held_out import HeldOut

PROMPT = "Write four digits out of {digits}.\n"
WANTED = 4
FEWEST, MOST = 3, 5
"""How many digits a question names."""
FREQUENCIES = {digit: 0.8**rank for rank, digit in enumerate("7385296410")}
"""Of every digit in replies."""
MOST_DRAWS = 1000


def question(digits: Sequence[str]) -> str:
    """As the environment `digits` puts it, and the end of its line."""
    return PROMPT.format(digits=f"{', '.join(digits[:-1])} and {digits[-1]}")


def drawn(rng: random.Random, is_held_out: HeldOut) -> list[str]:
    """Three to five digits that are not held out as a set.

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
    named = drawn(rng, is_held_out)
    known = named if rng.random() < read_share else list(FREQUENCIES)
    reply = rng.choices(known, [FREQUENCIES[digit] for digit in known], k=WANTED)
    return question(named) + "".join(reply)
