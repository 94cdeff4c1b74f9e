"""One stored attempt before an environment again: its turns played, then its grade.

What depends on more than the reply (a shell's files, a shop's data base) is made anew by feeding
the stored turns to a new episode. Where that answers otherwise than it did, the stored turns are no
answer to what the policy would have seen, and the attempt is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from munro.envs.base import Episode, as_grade, heard
from munro.envs.types import Ending, Message, Task, Trajectory
from munro.rewards.errors import EpisodeError
from munro.rewards.types import Grade
from munro.rollout.episode import CUT
from munro.rollout.problem.asking import Environments

CUT_SAYS = CUT.partition("{")[0]
ANSWERED = {Ending.ANSWERED, Ending.TRUNCATED_TURNS, Ending.TRUNCATED_TIME}
"""Endings whose last turn the environment has answered."""
ALIKE = 3
"""An answer that was cut to what fits begins with a part in so many of what it was."""


class WentOtherwise(EpisodeError):
    """The environment answers the stored turns otherwise than it did."""


async def grade_again(environments: Environments, task: Task, told: Trajectory) -> Grade:
    """What the environment grades a stored attempt with.

    Args:
        environments: that know the task's.
        task: as it is now.
        told: the attempt.

    Raises:
        EpisodeError: no grade could be had.
        WentOtherwise: the episode went another way.
    """
    async with environments.started(task) as episode:
        await _play(environments, episode, task, told)
        return as_grade(await environments.ask(task, "grade", episode.grade, told))


async def _play(environments: Environments, episode: Episode, task: Task, told: Trajectory) -> None:
    places = [place for place, one in enumerate(told.messages) if one.role == "assistant"]
    for turn, (place, end) in enumerate(zip(places, [*places[1:], None], strict=True)):
        message, followed = told.messages[place], told.messages[place + 1 : end]
        is_last = end is None
        if _was_cut(followed) or (is_last and not _was_answered(told, turn)):
            continue
        answered = await environments.ask(task, "reply", episode.reply, message)
        observations, _ = heard(turn, message, answered, 0.0)
        if not is_last and not _same(followed, observations):
            raise WentOtherwise(f"{task.env}/{task.id}: turn {turn + 1} is answered otherwise now")


def _was_cut(followed: Sequence[Message]) -> bool:
    return bool(followed) and followed[0].text.startswith(CUT_SAYS)


def _was_answered(told: Trajectory, turn: int) -> bool:
    return told.ending in ANSWERED or any(one.turn == turn for one in told.calls)


def _same(before: Sequence[Message], now: Sequence[Message] | None) -> bool:
    """Whether these are the same observations, but that those before may have been cut."""
    if now is None or len(before) != len(now):
        return False
    return all(_alike(one.text, other.text) for one, other in zip(before, now, strict=True))


def _alike(before: str, now: str) -> bool:
    if before == now:
        return True
    common = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, now, strict=False))
    )
    return len(before) < len(now) and common * ALIKE >= len(before)
