"""Tasks on the back end of docker: their own recipes, built by the engine, as whole machines.

Agents are root in there, as the recipes expect, and so may replace any program that the tests use.
What holds here as everywhere: tests run in a fresh container, in which /tests and /logs/verifier
are new and empty file systems whatever the agent left there.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from munro.envs.harbor.built import Built
from munro.envs.harbor.errors import BadFolder
from munro.envs.harbor.folder import Foreign, files_of
from munro.envs.harbor.verify import grade_in, mode_of
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Image, Limits
from munro.rewards.sandbox.whole.containers import RootEngine, RootSession, open_engine
from munro.rewards.types import Grade

EMPTY = ("/tests", "/logs/verifier", "/solution")
"""New in the container of the tests."""


class Containers:
    """The engine, and the images of tasks."""

    def __init__(self, host: str = "") -> None:
        self._host = host
        self._opening = threading.Lock()
        self._engine: RootEngine | None = None
        self._images: dict[str, str] = {}

    @property
    def engine(self) -> RootEngine:
        """Opened when it is first needed."""
        with self._opening:
            if self._engine is None:
                self._engine = open_engine(self._host)
            return self._engine

    def __getstate__(self) -> tuple[str, dict[str, str]]:
        return self._host, self._images

    def __setstate__(self, state: tuple[str, dict[str, str]]) -> None:
        self.__init__(state[0])  # type: ignore[misc]
        self._images = state[1]

    def build(self, task: Foreign) -> Built:
        """The image of a task.

        Raises:
            BadFolder: the engine has it not, or cannot build it.
            SandboxError: there is no engine.
        """
        try:
            if task.image:
                image = self.engine.find(task.image)
            elif task.recipe.is_file():
                image = self.engine.build(task.context, task.recipe, task.build_s)
            else:
                raise BadFolder(f"{task.folder}: there is no {task.recipe_name} in it")
        except BadFolder:
            raise
        except ValueError as failure:
            raise BadFolder(f"{task.folder}/{task.recipe_name}: {failure}") from failure
        self._images[task.id] = image
        return Built(image=Image(), workdir=task.workdir or self.engine.workdir(image))

    def image(self, task: str) -> str:
        """Of a task that was built."""
        return self._images[task]

    def verified(
        self,
        task: Foreign,
        built: Built,
        session: RootSession,
        *,
        limits: Limits,
        env: Mapping[str, str],
        wanted: str,
    ) -> Grade:
        """As `verify.verified`, of what an agent left in a container."""
        left = session.commit()
        try:
            with self.engine.session(left, limits, empty=EMPTY) as fresh:
                files = {
                    name: (contents, mode_of(task, name)) for name, contents in files_of(task.tests)
                }
                if failure := fresh.put(files, "/tests"):
                    raise SandboxError(f"the tests of {task.id} could not be put there: {failure}")
                done = fresh.run(
                    built.command(
                        "sh", "-c", f"/tests/{task.script}", more={**env, **task.test_env}
                    ),
                    limits=replace(limits, wall_s=task.test_s),
                    clip=True,
                    interleave=True,
                )
                return grade_in(fresh, task, done, wanted)
        finally:
            self.engine.forget(left)

    def close(self) -> None:
        """Remove what is left."""
        with self._opening:
            if self._engine is not None:
                self._engine.close()
                self._engine = None
