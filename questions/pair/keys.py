"""Whether a key is shifted against its exercises: seen by answers that fit one question only.

A list of answers that stands apart from its exercises may be off by one, from its start or from
somewhere on, and its numbers agree all the same. An answer that fits its own question and neither
of its neighbours' is a witness; a pair without anything to be seen is vouched for by the nearest
witnesses on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence

from munro.questions.pair.fit import Fit

REACH = 8
"""Pairs up to a witness at most."""
NEAR_END = 1
"""Pairs between the last witness and the end of a key that it vouches for."""


def vouched(fits: Sequence[Fit], before: Sequence[Fit], after: Sequence[Fit]) -> list[str]:
    """For each pair what vouches for it; empty where nothing does.

    Args:
        fits: of each answer and its question, in the order of the key.
        before: of each question with the answer before its own.
        after: of each question with the answer after its own.
    """
    signs = [
        -1 if own.score < 0 else int(own.score > 0 and prior.score < 1 and later.score < 1)
        for own, prior, later in zip(fits, before, after, strict=True)
    ]
    if len(signs) == 1:
        return [fits[0].seen or "the only one of its key"] if signs[0] >= 0 else [""]
    found = []
    for at, (sign, own) in enumerate(zip(signs, fits, strict=True)):
        if sign:
            found.append(own.seen if sign > 0 else "")
        else:
            found.append("the pairs around it" if _between_witnesses(signs, at) else "")
    return found


def _between_witnesses(signs: Sequence[int], at: int) -> bool:
    left = _nearest(signs[:at][::-1])
    right = _nearest(signs[at + 1 :])
    left_end, right_end = at, len(signs) - 1 - at
    left_holds = left == 1 or (left == 0 and left_end <= NEAR_END)
    right_holds = right == 1 or (right == 0 and right_end <= NEAR_END)
    return left_holds and right_holds and 1 in (left, right)


def _nearest(signs: Sequence[int]) -> int:
    """The sign of the nearest witness: 0 where there is none near."""
    return next((sign for sign in signs[:REACH] if sign), 0)
