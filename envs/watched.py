"""Second judges, who are not paid: on a sample of attempts, beside the grader that is.

    [env.graders.helpful]
    kind = "judge"
    [env.graders.helpful.watch]        # nobody is paid for what it says
    kind = "judge"
    args = { judge = "second", ask = "scale" }
    share = 0.02

What a policy learns about the judge that pays it, it has no reason to learn about another. Where
the one is more and more content and the other less and less, the first is being played
(`munro.evaluation.watch`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from munro.envs.base import as_grade, call
from munro.envs.types import Task, Trajectory
from munro.rewards.combine.parts import GraderConfig, WatchConfig
from munro.rewards.errors import EpisodeError, GraderError
from munro.rewards.types import Grade

SEEN, FAILED = "watch", "watch_failed"
"""Parts of a grade, behind the name of the grader that is watched."""


def watches(graders: Mapping[str, GraderConfig]) -> dict[str, WatchConfig]:
    """Watches by the name of the grader that each is set on."""
    return {name: one.watch for name, one in graders.items() if one.watch is not None}


def is_looked_at(name: str, share: float, task: Task, row: int, trajectory: Trajectory) -> bool:
    """Whether this attempt is in the sample: by a hash of all that tells it from others, so that
    the same attempt is or is not, in any process, and no two copies of a text fare alike for ever.
    """
    told = f"{name}\0{task.id}\0{row}\0{trajectory.oldest_version}\0{trajectory.reply}"
    digest = blake2b(told.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


async def looked(grader: Any, item: Mapping[str, Any], name: str, part: str) -> dict[str, float]:
    """What the second judge says of one attempt, as parts of its grade.

    A judge who gives no verdict costs nobody an attempt: that is counted, and no more.

    Args:
        grader: the second judge.
        item: what it is given.
        name: of the grader that is watched.
        part: which figure of its grade; "" for the reward.

    Raises:
        ValueError: a field holds something that it cannot use.
    """
    try:
        grade = as_grade(await call(grader.grade, item))
        return {f"{name}/{SEEN}": _figure(grade, name, part), f"{name}/{FAILED}": 0.0}
    except EpisodeError:
        return {f"{name}/{FAILED}": 1.0}


def _figure(grade: Grade, name: str, part: str) -> float:
    if not part:
        return grade.reward
    if part not in grade.parts:
        raise GraderError(f"the grade of {name}.watch holds no part {part!r}")
    return grade.parts[part]


def sample(
    name: str, config: WatchConfig, task: Task, trajectories: Sequence[Trajectory]
) -> list[int]:
    """Numbers of the attempts that are looked at."""
    return [
        row
        for row, trajectory in enumerate(trajectories)
        if is_looked_at(name, config.share, task, row, trajectory)
    ]
