"""The examination: who must pass, and who must not."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import Any, TypeVar

import psutil

from munro.envs.base import Environment, Policy
from munro.envs.check.playing import (
    Played,
    gold_of,
    gold_policy_of,
    opened_and_closed,
    played,
)
from munro.envs.check.random_caller import random_caller
from munro.envs.types import Task
from munro.rewards.plugins import blame
from munro.rewards.types import Grade

T = TypeVar("T")

JUNK = "I do not know."
NOOP = "done"
"""What a policy says that does nothing."""
SILENCE = "silence"
RANDOM = "calling its tools at random"
NEVER = (SILENCE, RANDOM)
"""Who must not pass where no call is wanted either."""


class Broken(Exception):
    """One line that says what is wrong."""


def exam(
    environment: Environment,
    tasks: Sequence[Task],
    warnings: list[str],
    deadline_s: float,
    has_graders: bool,
) -> dict[str, Any]:
    """Gold must pass; silence, junk, doing nothing and calls at random must not.

    Where gold passes without a call of the tools that it is shown, words may pass: not silence, and
    not calls at random.

    Args:
        environment: that is examined.
        tasks: that are played, at least one.
        warnings: what should be looked at is added to these.
        deadline_s: wall seconds of one episode, where its budget does not give it more.
        has_graders: a recipe adds graders, of which the environment's gold knows nothing.

    Raises:
        Broken: something must be mended.
    """
    room = _Room(environment, deadline_s)
    if environment.endpoint:
        room.opened_and_closed(tasks[0])
        warnings.append("an agent of its own plays it, which was not run: no policy answers here")
        return {}
    said, first = [], None
    running, processes, spared = 0, 0, 0
    has_tools = any(task.tools for task in tasks)
    for number, task in enumerate(tasks):
        gold, done = room.gold(task)
        said.append(gold)
        if done is not None:
            first = first or done.grade
            if (why := _fails(task, gold, done.grade)) and not has_graders:
                raise Broken(why)
            warnings += [why] if why else []
        spared += _words_pass(room, task, gold, done if has_tools else None)
        room.opened_and_closed(task)
        if number == 0:  # what starts with the first episode and serves them all is there now
            running, processes = room.num_played, _processes()
    episodes, left = room.num_played - running, _processes() - processes
    if episodes and left >= episodes:
        raise Broken(
            f"{left} processes are left behind by {episodes} closed episodes: Episode.close must "
            "end what an episode starts"
        )
    if spared:
        warnings.append(
            f"{spared} of {len(tasks)} tasks want no call, and any words pass them: calls are all "
            "that fails"
        )
    if not all(said):
        warnings.append("gold_reply gives nothing: that a right answer passes is not proved")
    leaks = sum(map(_leaks, tasks, said))
    if leaks > len(tasks) / 2:
        warnings.append(f"{leaks} of {len(tasks)} prompts hold the gold reply word for word")
    return {"gold": said[0], "grade": first, "grade_ms": median(room.spent_ms)}


class _Room:
    """Where episodes are played, each within its time."""

    def __init__(self, environment: Environment, deadline_s: float) -> None:
        self._environment = environment
        self._deadline_s = deadline_s
        self.spent_ms: list[float] = []
        """Of each grading."""
        self.num_played = 0

    def gold(self, task: Task) -> tuple[tuple[str, ...], Played | None]:
        """What the gold policy says, one text a turn, and its episode; nothing where none is."""
        where = f"task {task.id!r}"
        policy = within(
            self._deadline_s,
            f"{where}: gold_policy",
            partial(gold_policy_of, self._environment, task),
        )
        if policy is not None:
            done = self.tried(task, policy, "the gold policy")
            return done.said, done
        texts = within(
            self._deadline_s, f"{where}: gold_reply", partial(gold_of, self._environment, task)
        )
        return texts, self.tried(task, texts, "the gold reply") if texts else None

    def tried(self, task: Task, replies: Sequence[str] | Policy, what: str) -> Played:
        """One episode."""
        doing = f"task {task.id!r}: playing and grading {what}"
        done = within(
            self._patience_s(task),
            doing,
            lambda: asyncio.run(played(self._environment, task, replies)),
        )
        self.spent_ms.append(done.grade_ms)
        self.num_played += 1
        return done

    def opened_and_closed(self, task: Task) -> None:
        """An episode that nobody plays, as after a failure."""
        within(
            self._patience_s(task),
            f"task {task.id!r}: closing an episode that nobody has played",
            lambda: asyncio.run(opened_and_closed(self._environment, task)),
        )
        self.num_played += 1

    def _patience_s(self, task: Task) -> float:
        own = self._environment.budget
        budget = own if task.budget is None else task.budget.over(own)
        said = (budget.start_s or 0) + (budget.wall_s or 0) + (budget.grade_s or 0)
        return max(self._deadline_s, said)


def _words_pass(room: _Room, task: Task, gold: Sequence[str], done: Played | None) -> bool:
    """Whether those pass who know nothing and say so, as they may where no call is wanted.

    Args:
        room: where they are played.
        task: that they are given.
        gold: what the gold policy said.
        done: its episode, of an environment that shows tools.

    Raises:
        Broken: somebody passes who must not.
    """
    passing = False
    for policy, what in _impostors(task, gold):
        if room.tried(task, policy, what).grade.solved:
            if done is None or not _wants_nothing(done) or what in NEVER:
                raise Broken(f"task {task.id!r}: {what} passes, so there is nothing to learn")
            passing = True
    return passing


def _fails(task: Task, gold: Sequence[str], grade: Grade) -> str:
    """Why the gold of a task is none; nothing where it passes."""
    if grade.solved:
        return ""
    return (
        f"task {task.id!r}: the gold reply {gold[-1]!r:.60} fails "
        f"(reward {grade.reward:g}{', ' if grade.reason else ''}{grade.reason})"
    )


def _impostors(task: Task, gold: Sequence[str]) -> Iterator[tuple[Sequence[str] | Policy, str]]:
    """Policies that know nothing of the task, and what each does."""
    idle = [("", SILENCE), (JUNK, f"{JUNK!r}")]
    if task.tools or len(gold) > 1:
        # where one reply is all there is, the word may well be the answer
        idle.append((NOOP, f"doing nothing ({NOOP!r})"))
    for reply, what in idle:
        if (reply,) != tuple(gold):
            yield (reply,), what
    if task.tools:
        yield random_caller(task, NOOP), RANDOM


def _wants_nothing(gold: Played) -> bool:
    """Where there are tools gold passes without a call: whoever says that it does not know may be
    right too, and what there is to learn is to leave them alone."""
    return gold.grade.solved and not gold.trajectory.calls


def _processes() -> int:
    return len(psutil.Process().children(recursive=True))


def _leaks(task: Task, gold: Sequence[str]) -> bool:
    answer = gold[-1].strip() if gold else ""
    asked = "\n".join(message.content for message in task.messages)
    return bool(answer) and re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", asked) is not None


def within(deadline_s: float, doing: str, work: Callable[[], T]) -> T:
    """The result of `work`; `Broken`, in one line, where it raises or does not come back."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - user code: reported, whatever it is
            errors.append(error)

    worker = threading.Thread(target=run, daemon=True, name=doing)
    worker.start()
    worker.join(deadline_s)
    if worker.is_alive():
        raise Broken(f"{doing} did not end within {deadline_s:g} s")
    if errors and getattr(errors[0], "is_sentence", False):
        raise Broken(str(errors[0])) from errors[0]
    if errors:
        raise Broken(f"{doing} failed: {blame(errors[0])}") from errors[0]
    return results[0]
