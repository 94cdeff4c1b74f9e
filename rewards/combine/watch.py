"""Second judges, who are not paid: on a sample of attempts, beside the grader that is.

    [env.graders.helpful]
    kind = "judge"
    [env.graders.helpful.watch]        # nobody is paid for what it says
    kind = "judge"
    args = { judge = "second", ask = "scale" }
    share = 0.02

What a policy learns about the judge that pays it, it has no reason to learn about another. Where
the one is more and more content and the other less and less, the first is being played
(`munro.evaluation.judges.watch`).
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from munro.rewards.combine.parts import GraderConfig, WatchConfig
from munro.rewards.errors import GraderError
from munro.rewards.types import Grade

SEEN, FAILED = "watch", "watch_failed"
"""Parts of a grade, behind the name of the grader that is watched."""


def watches(graders: Mapping[str, GraderConfig]) -> dict[str, WatchConfig]:
    """Watches by the name of the grader that each is set on."""
    return {name: one.watch for name, one in graders.items() if one.watch is not None}


def is_looked_at(share: float, *told: object) -> bool:
    """Whether an attempt is in the sample: by a hash of all that tells it from others, so that the
    same attempt is or is not, in any process.

    Args:
        share: of attempts that are.
        told: what tells this one from others; its text alone would have copies of a text all looked
            at, or none for ever.
    """
    text = "\0".join(map(str, told))
    digest = blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def seen(name: str, part: str, grade: Grade) -> dict[str, float]:
    """What a second judge said, as parts of the attempt's grade.

    Args:
        name: of the grader that is watched.
        part: which figure counts; "" for the reward.
        grade: the second judge's.

    Raises:
        GraderError: its grade holds no such part.
    """
    if part and part not in grade.parts:
        raise GraderError(f"the grade of {name}.watch holds no part {part!r}")
    figure = grade.parts[part] if part else grade.reward
    return {f"{name}/{SEEN}": figure, f"{name}/{FAILED}": 0.0}


def unseen(name: str) -> dict[str, float]:
    """The same where it gave no verdict: that costs nobody an attempt, and is counted."""
    return {f"{name}/{FAILED}": 1.0}
