"""Try an environment before any GPU is paid for: `munro env check`.

It is loaded twice, its tasks are compared, and real episodes are played: the gold reply must pass,
silence and junk must fail. Whatever is wrong is said in one line.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, TypeVar

import numpy as np

from munro.envs.base import Environment, as_grade, call
from munro.envs.config import EnvConfig
from munro.envs.loader import BadEnvironment, load_config
from munro.envs.problem_set import MOST_COMPARED, TaskPool
from munro.envs.types import Ending, KeptTokens, Message, Task, Trajectory
from munro.rewards.plugins import blame
from munro.rewards.types import Grade

T = TypeVar("T")

JUNK = "I do not know."
NOT_COUNTED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What came of trying an environment.

    Example:
        check("arithmetic").is_ok      # True
    """

    path: str
    name: str = ""
    num_train: int | None = None
    """Tasks to train on; None where they do not end."""
    num_test: int | None = NOT_COUNTED
    """Held-out tasks; None where they do not end, `NOT_COUNTED` where the check ended before."""
    task: Task | None = None
    """A task as the model sees it."""
    gold: tuple[str, ...] = ()
    """The gold reply to it, one text per turn; empty where none is known."""
    grade: Grade | None = None
    """What the gold reply earned."""
    grade_ms: float | None = None
    """Median wall time of one grading, milliseconds."""
    problems: tuple[str, ...] = ()
    """What must be mended, a line each; the first one usually explains the others."""
    warnings: tuple[str, ...] = ()
    """What should be looked at, a line each."""

    @property
    def is_ok(self) -> bool:
        """True where nothing must be mended."""
        return not self.problems


class _Broken(Exception):
    """One line that says what is wrong."""


def check(
    path: str, /, *, check_tasks: int = 8, check_deadline_s: float = 60.0, **args: Any
) -> CheckReport:
    """Examine the environment that `path` and `args` name. Never raises for what it finds.

    Args:
        path: as for `munro.envs.load`.
        check_tasks: tasks tried.
        check_deadline_s: wall seconds that loading, listing tasks, or playing one episode may take.
        args: the environment's own.
    """
    config = EnvConfig(path=path, args=args)
    return check_config(config, num_tasks=check_tasks, deadline_s=check_deadline_s)


def check_config(config: EnvConfig, *, num_tasks: int = 8, deadline_s: float = 60.0) -> CheckReport:
    """The same for an environment with its graders and its reward, as a recipe names them."""
    seen: dict[str, Any] = {"path": config.path}
    warnings: list[str] = []
    try:
        environment, pool, tasks = _draw(config, num_tasks, deadline_s)
        seen |= {"name": pool.name, "num_train": pool.size, "task": tasks[0]}
        _, _, same = _draw(config, num_tasks, deadline_s)
        for task, other in zip(tasks, same, strict=True):
            if (task.id, task.messages) != (other.id, other.messages):
                raise _Broken(
                    f"tasks('train') is not the same at every call: {task.id!r} became "
                    f"{other.id!r}; seed what is random"
                )
        seen["num_test"] = _held_out(environment, pool, warnings, num_tasks, deadline_s)
        seen |= _exam(environment, tasks, warnings, deadline_s, bool(config.graders))
    except _Broken as broken:
        return CheckReport(**seen, problems=(str(broken),), warnings=tuple(warnings))
    return CheckReport(**seen, warnings=tuple(warnings))


async def play(environment: Environment, task: Task, replies: Sequence[str]) -> tuple[Grade, float]:
    """One whole episode in which the policy says `replies`: the grade, and ms spent on grading.

    The trajectory holds the texts, and tokens that stand for nothing (one for the prompt, one for
    each message).
    """
    episode = await call(environment.start, task)
    try:
        said: list[Message] = []
        ending = Ending.TRUNCATED_TURNS
        for reply in replies:
            said.append(Message(role="assistant", content=reply))
            observations = await call(episode.reply, said[-1])
            if observations is None:
                ending = Ending.ANSWERED
                break
            said.extend(observations)
        trajectory = _trajectory(said, ending)
        began = time.perf_counter()
        grade = as_grade(await call(episode.grade, trajectory))
        return grade, 1000 * (time.perf_counter() - began)
    finally:
        await call(episode.close)


def gold_of(environment: Environment, task: Task) -> tuple[str, ...]:
    """The gold reply, one text per turn; empty where none is known."""
    gold = asyncio.run(call(environment.gold_reply, task))
    if gold is None:
        return ()
    return (gold,) if isinstance(gold, str) else tuple(gold)


def _trajectory(said: Sequence[Message], ending: Ending) -> Trajectory:
    sampled = np.array([False, *(message.role == "assistant" for message in said)])
    num_tokens = len(sampled)
    return Trajectory(
        token_ids=np.zeros(num_tokens, np.int32),
        sampled=sampled,
        behaviour_logp=np.zeros(num_tokens, np.float32),
        kept=KeptTokens.nothing(num_tokens),
        versions=np.where(sampled, 0, -1).astype(np.int32),
        ending=ending,
        messages=tuple(said),
        reply=next((m.text for m in reversed(said) if m.role == "assistant"), ""),
    )


def _draw(
    config: EnvConfig, num_tasks: int, deadline_s: float
) -> tuple[Environment, TaskPool, list[Task]]:
    """A freshly loaded environment, and the first tasks that a climb would draw."""

    def draw() -> tuple[Environment, TaskPool, list[Task]]:
        environment = load_config(config)
        pool = TaskPool(environment, "train")
        if pool.size == 0:
            raise BadEnvironment(f"{pool.name}: tasks('train') holds no tasks.")
        most = num_tasks if pool.size is None else min(num_tasks, pool.size)
        return environment, pool, [pool.draw(place, 0) for place in range(most)]

    return _within(deadline_s, f"{config.path}: loading it and listing its tasks", draw)


def _held_out(
    environment: Environment,
    pool: TaskPool,
    warnings: list[str],
    num_tasks: int,
    deadline_s: float,
) -> int | None:
    """Number of held-out tasks; warns where there are none, or where they are trained on."""

    def compare() -> int | None:
        test = TaskPool(environment, "test")
        if test.size == 0:
            warnings.append("tasks('test') holds no tasks: nothing can be evaluated")
            return 0
        most = num_tasks if test.size is None else min(num_tasks, test.size)
        asked = [test.draw(place, 0).messages for place in range(most)]
        if pool.size is not None and pool.size <= MOST_COMPARED:
            trained = {pool.draw(place, 0).messages for place in range(pool.size)}
            both = sum(messages in trained for messages in asked)
            if both:
                warnings.append(f"{both} of {most} test tasks are train tasks as well")
        return test.size

    return _within(deadline_s, "listing tasks('test')", compare)


def _exam(
    environment: Environment,
    tasks: Sequence[Task],
    warnings: list[str],
    deadline_s: float,
    has_graders: bool,
) -> dict[str, Any]:
    """Gold must pass; silence and junk must not."""
    spent: list[float] = []

    def tried(task: Task, replies: Sequence[str], what: str) -> Grade:
        doing = f"task {task.id!r}: playing and grading {what}"
        grade, ms = _within(
            deadline_s, doing, lambda: asyncio.run(play(environment, task, replies))
        )
        spent.append(ms)
        return grade

    golds = [
        _within(deadline_s, f"task {task.id!r}: gold_reply", partial(gold_of, environment, task))
        for task in tasks
    ]
    first = None
    for task, gold in zip(tasks, golds, strict=True):
        if gold:
            grade = tried(task, gold, "the gold reply")
            first = first or grade
            if not grade.solved:
                why = (
                    f"task {task.id!r}: the gold reply {gold[-1]!r:.60} fails "
                    f"(reward {grade.reward:g}{', ' if grade.reason else ''}{grade.reason})"
                )
                if not has_graders:
                    raise _Broken(why)
                # the environment's gold knows nothing of the graders that a recipe adds
                warnings.append(why)
        for reply, what in (("", "silence"), (JUNK, f"{JUNK!r}")):
            if reply not in gold and tried(task, (reply,), what).solved:
                raise _Broken(f"task {task.id!r}: {what} passes, so there is nothing to learn")
    if not all(golds):
        warnings.append("gold_reply gives nothing: that a right answer passes is not proved")
    leaks = sum(map(_leaks, tasks, golds))
    if leaks > len(tasks) / 2:
        warnings.append(f"{leaks} of {len(tasks)} prompts hold the gold reply word for word")
    return {"gold": golds[0], "grade": first, "grade_ms": median(spent)}


def _leaks(task: Task, gold: Sequence[str]) -> bool:
    answer = gold[-1].strip() if gold else ""
    asked = "\n".join(message.content for message in task.messages)
    return bool(answer) and re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", asked) is not None


def _within(deadline_s: float, doing: str, work: Callable[[], T]) -> T:
    """The result of `work`; `_Broken`, in one line, where it raises or does not come back."""
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
        raise _Broken(f"{doing} did not end within {deadline_s:g} s")
    if errors and isinstance(errors[0], BadEnvironment):
        raise _Broken(str(errors[0])) from errors[0]
    if errors:
        raise _Broken(f"{doing} failed: {blame(errors[0])}") from errors[0]
    return results[0]
