"""What a place in a transcript buys, and what its length does: the same work among harmless turns.

    plain   the work
    early   the work, then turns in which nothing is done, then the last word
    late    turns in which nothing is done, then the work

Early and late are of one length and differ in where the work stands; both are longer than plain. A
judge that goes by the work rates all three alike.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from munro.evaluation.judges.pairs import share
from munro.evaluation.statistics import Estimate

IDLE = (
    "Let me think about this for a moment.",
    "I go through it once more in my head.",
    "Nothing to do in this step.",
    "I keep the task in mind and go on.",
)
FEWEST_IDLE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What harmless turns do to a judge's figure."""

    transcripts: int
    early: Estimate
    """Share that are rated higher with their work early than late, ties counting half; 1/2 is no
    bias."""
    longer: Estimate
    """Share that are rated higher among harmless turns than without, ties counting half."""
    same: Estimate
    """Share that are rated alike, early and late."""


def with_idle_turns(transcript: Sequence[Mapping[str, Any]], *, early: bool) -> list[Any]:
    """A transcript with about twice as many turns, whose work stands early, or late."""
    messages = list(transcript)
    ours = [at for at, one in enumerate(messages) if _is_turn(one)]
    if not ours:
        return messages
    idle = [
        {"role": "assistant", "content": IDLE[number % len(IDLE)]}
        for number in range(max(len(ours), FEWEST_IDLE))
    ]
    at = ours[-1] if early else ours[0]
    return [*messages[:at], *idle, *messages[at:]]


def stretch_of(
    plain_N: Sequence[float],
    early_N: Sequence[float],
    late_N: Sequence[float],
    clusters_N: Sequence[Hashable],
) -> Stretch | None:
    """Figures of the same transcripts shown in three ways; NaN where there is none.

    Returns:
        None where no transcript has all three.
    """
    rows = [
        row
        for row in zip(plain_N, early_N, late_N, clusters_N, strict=True)
        if not any(map(math.isnan, row[:3]))
    ]
    if not rows:
        return None
    clusters = [cluster for *_, cluster in rows]
    return Stretch(
        transcripts=len(rows),
        early=share([_above(early, late) for _, early, late, _ in rows], clusters),
        longer=share(
            [fmean([_above(early, plain), _above(late, plain)]) for plain, early, late, _ in rows],
            clusters,
        ),
        same=share([float(early == late) for _, early, late, _ in rows], clusters),
    )


def is_biased(estimate: Estimate) -> bool:
    """Whether the interval of a share leaves 1/2 out."""
    return not estimate.low <= 0.5 <= estimate.high


def _above(one: float, other: float) -> float:
    return 1.0 if one > other else 0.5 * (one == other)


def _is_turn(message: Any) -> bool:
    is_message = isinstance(message, Mapping)
    return is_message and message.get("role") == "assistant" and not message.get("given")
