"""What is found out about an environment, and the report of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from munro.envs.base import Environment
from munro.envs.check.exam import Broken, exam, within
from munro.envs.config import EnvConfig
from munro.envs.loader import BadEnvironment, load_config
from munro.envs.problem_set import MOST_COMPARED, TaskPool
from munro.envs.types import Task
from munro.rewards.types import Grade

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


def check(
    path: str,
    /,
    *,
    check_tasks: int = 8,
    check_deadline_s: float = 60.0,
    isolate: bool = False,
    **args: Any,
) -> CheckReport:
    """Examine the environment that `path` and `args` name. Never raises for what it finds.

    Args:
        path: as for `munro.envs.load`.
        check_tasks: tasks tried.
        check_deadline_s: wall seconds that loading, listing tasks, or playing one episode may take.
        isolate: run it in a process of its own, of the interpreter `python` where that is given.
        args: the environment's own.
    """
    python = str(args.pop("python", "")) if isolate else ""
    config = EnvConfig(path=path, args=args, isolate=isolate, python=python)
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
                raise Broken(
                    f"tasks('train') is not the same at every call: {task.id!r} became "
                    f"{other.id!r}; seed what is random"
                )
        seen["num_test"] = _held_out(environment, pool, warnings, num_tasks, deadline_s)
        seen |= exam(environment, tasks, warnings, deadline_s, bool(config.graders))
    except Broken as broken:
        return CheckReport(**seen, problems=(str(broken),), warnings=tuple(warnings))
    return CheckReport(**seen, warnings=tuple(warnings))


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

    return within(deadline_s, f"{config.path}: loading it and listing its tasks", draw)


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

    return within(deadline_s, "listing tasks('test')", compare)
