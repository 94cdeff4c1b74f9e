"""The tasks of a stored run as another environment knows them now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from munro.envs.base import Environment
from munro.envs.config import EnvConfig
from munro.envs.loader import BadEnvironment, load_config
from munro.envs.problem_set import TaskPool, unique_names
from munro.envs.types import Task

MOST_LOOKED = 1_000_000
"""Tasks of a split that are looked through for those that were stored."""
MISSING = "the environment has no such task"
OTHERWISE = "the environment asks something else under that name"


@dataclass(frozen=True, slots=True)
class NotThere:
    """Why a stored task cannot be graded now."""

    why: str


class Tasks:
    """Finds what a stored task is now.

    Where an environment's tasks end, those of its own are taken, by their ids, and graded with what
    it knows of them now. Of one whose tasks do not end the stored ones are taken as they were.
    """

    def __init__(self, configs: Sequence[EnvConfig], wanted: Iterable[tuple[str, str]]) -> None:
        """Load the environments, and look for the tasks.

        Args:
            configs: of the environments.
            wanted: (environment, id) of every task that was stored.

        Raises:
            BadEnvironment: one cannot be loaded, or an agent of its own plays it.
        """
        loaded = [load_config(config) for config in configs]
        names = unique_names(
            [one.name or env.name for one, env in zip(configs, loaded, strict=True)]
        )
        self._environments = dict(zip(names, loaded, strict=True))
        ids = {task for _, task in wanted}
        self._known: dict[str, dict[str, Task]] = {}
        self._endless: set[str] = set()
        for name, environment in self._environments.items():
            if environment.endpoint:
                raise BadEnvironment(
                    f"{name}: an agent of its own plays it, and what it did cannot be done again."
                )
            self._known[name] = self._found(name, environment, ids)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the environments."""
        return tuple(self._environments)

    @property
    def endless(self) -> tuple[str, ...]:
        """Of those whose tasks do not end."""
        return tuple(name for name in self.names if name in self._endless)

    def environment(self, name: str) -> Environment:
        """The environment of a name, as in `Task.env`."""
        return self._environments[name]

    def knows(self, env: str, task: str) -> bool:
        """Whether a stored task may be there."""
        return any(task in self._known[name] or name in self._endless for name in self._for(env))

    def now(self, task: Task) -> Task | NotThere:
        """The stored task as it is now."""
        for name in self._for(task.env):
            found = self._known[name].get(task.id)
            if found is None and name in self._endless:
                return replace(task, env=name)
            if found is not None:
                asked = [(one.role, one.text) for one in found.messages]
                before = [(one.role, one.text) for one in task.messages]
                return found if asked == before else NotThere(OTHERWISE)
        return NotThere(MISSING)

    def _for(self, env: str) -> Sequence[str]:
        """The environment of that name, where there is one; else all, the only one as a rule."""
        return [env] if env in self._environments else self.names

    def _found(self, name: str, environment: Environment, ids: set[str]) -> dict[str, Task]:
        found: dict[str, Task] = {}
        for split in ("train", "test"):
            pool = TaskPool(environment, split, name)
            if pool.size is None:
                self._endless.add(name)
                continue
            for place in range(min(pool.size, MOST_LOOKED)):
                if len(found) == len(ids):
                    return found
                task = pool.draw(place, 0)
                if task.id in ids:
                    found.setdefault(task.id, task)
        return found
