"""Tasks in Harbor's folders, and in terminal-bench's older ones, that Munro did not make.

    prompt   the folder's instruction
    tools    bash and str_replace_editor, in a box that the folder's own recipe makes
    grade    the folder's own tests, run after the agent in a fresh box over what it left (`verify`)

On the back end of namespaces the recipe is carried out as far as it needs neither a network nor
another image than this machine can stand for (`build`); on docker it is built by the engine
(`containers`). A task that cannot be had is refused in one line, or left out with `skip = true`.
"""

from __future__ import annotations

import base64
import json
import logging
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

from munro.envs.base import Policy
from munro.envs.budget import Budget
from munro.envs.harbor.artifacts import layer_of_artifacts
from munro.envs.harbor.build import build
from munro.envs.harbor.built import Built
from munro.envs.harbor.containers import Containers
from munro.envs.harbor.errors import BadFolder
from munro.envs.harbor.folder import Foreign, files_of
from munro.envs.harbor.packages import packages_layer
from munro.envs.harbor.reading import is_foreign, read_foreign
from munro.envs.harbor.verify import verified, without_links
from munro.envs.shell import BASH, BOX, SH, Box, Shell, held
from munro.envs.shell.editor import Editor
from munro.envs.swe import changes_in
from munro.envs.types import Message, Task, ToolCall
from munro.rewards.errors import EnvironmentFailure, SandboxError
from munro.rewards.sandbox import Image, Layer, Session
from munro.rewards.sandbox.image import forget_layer
from munro.rewards.sandbox.whole.containers import RootSession
from munro.rewards.types import Grade

logger = logging.getLogger(__name__)
PROMPT = "{instruction}"
PART = 48_000
"""Bytes of a file that gold hands to one command."""
SECONDS_BESIDE = 60.0
"""Of a grade, beside the tests' own."""


class Harbor(Shell):
    """Folders of Harbor's and terminal-bench's, whoever made them."""

    name = "harbor"
    file_args: ClassVar[tuple[str, ...]] = ("path", "store", "packages")
    keep_processes = True

    def __init__(
        self,
        path: str,
        store: str = "",
        skip: bool = False,
        test_share: float = 0.1,
        reward: str = "reward",
        prompt: str = PROMPT,
        packages: str = "",
        backend: str = "namespaces",
    ) -> None:
        """Read every task and make its image, once a store.

        Args:
            path: folder of task folders, or one of them.
            store: of images' layers; `~/.cache/munro/layers` unless given.
            skip: leave out tasks that cannot be had here, with a warning for each.
            test_share: share of the tasks that is held out, by their digests.
            reward: which of several rewards in a reward.json is paid.
            prompt: what is asked, with {instruction} in it.
            packages: folder of `pip install --target`, for the boxes in which tests run (pytest,
                say); agents do not see it. Of the back end of namespaces.
            backend: of the sandbox.
        """
        if not 0 <= test_share < 1:
            raise BadFolder(f"test_share = {test_share}: give a share in [0, 1).")
        if "{instruction}" not in prompt:
            raise BadFolder(f"prompt = {prompt!r:.60}: it must hold {{instruction}}.")
        if backend not in ("namespaces", "docker"):
            raise BadFolder(f"backend = {backend!r}: write 'namespaces' or 'docker'.")
        self._containers = Containers() if backend == "docker" else None
        super().__init__(store=store, backend=backend)
        self._reward, self._prompt = reward, prompt
        self._packages: tuple[Layer, ...] = ()
        if packages:
            if backend != "namespaces":
                raise BadFolder("packages: on docker, what tests need is in the task's own image")
            self._packages = (packages_layer(Path(packages).expanduser(), self.store),)
        self._foreign: dict[str, Foreign] = {}
        self._digests: dict[str, str] = {}
        self._built: dict[str, Built] = {}
        self._judges: dict[str, Built] = {}
        """Of the tests, where they have an image of their own."""
        self.left_out = self._read(folders_in(Path(path).expanduser()), skip=skip)
        """By the folder's name, why a task was left out."""
        memory = max((task.memory_mb for task in self._foreign.values()), default=0)
        disk = max((task.storage_mb for task in self._foreign.values()), default=0)
        self.limits = replace(
            self.limits,
            memory_mb=max(self.limits.memory_mb, memory),
            disk_mb=max(self.limits.disk_mb, min(disk, 2048)),
        )
        bound = int(test_share * 2**32)
        self._sides: dict[str, list[Task]] = {"train": [], "test": []}
        for name, task in self._foreign.items():
            side = "test" if int(self._digests[name][:8], 16) < bound else "train"
            self._sides[side].append(self._asked(task))

    def _read(self, folders: list[Path], *, skip: bool) -> dict[str, str]:
        left_out: dict[str, str] = {}
        for folder in folders:
            try:
                task = read_foreign(folder)
                self._built[task.id] = self._make(task)
                self._foreign[task.id], self._digests[task.id] = task, task.digest()
            except BadFolder as failure:
                if not skip:
                    more = "" if len(folders) == 1 else "; skip = true leaves such tasks out"
                    raise BadFolder(f"{failure}{more}") from failure
                logger.warning("left out: %s", failure)
                left_out[folder.name] = str(failure)
        if not self._foreign:
            raise BadFolder(f"none of the {len(folders)} tasks can be had: {failure_of(left_out)}")
        return left_out

    def _make(self, task: Foreign) -> Built:
        if self._containers is not None:
            if task.is_separate:
                raise BadFolder(f"{task.folder}: a separate verifier is played on namespaces alone")
            return self._containers.build(task)
        if task.is_separate:
            self._judges[task.id] = build(task.judge, self.store, lambda: self.sandbox, hides=False)
        return build(task, self.store, lambda: self.sandbox)

    def _asked(self, task: Foreign) -> Task:
        return Task(
            id=task.id,
            prompt=self._prompt.replace("{instruction}", task.instruction.strip()),
            payload={"folder": str(task.folder.resolve()), "digest": self._digests[task.id]},
            budget=Budget(wall_s=task.agent_s, grade_s=task.test_s + SECONDS_BESIDE),
        )

    def tasks(self, split: str) -> Iterable[Task]:
        """The tasks of one side, in the order of their names."""
        return self._sides.get(split, [])

    def foreign(self, task: Task) -> Foreign:
        """The whole task, hidden side and all.

        Raises:
            EnvironmentFailure: its folder is not what it was when tasks were drawn.
        """
        found = self._foreign.get(task.id)
        if found is None:
            raise EnvironmentFailure(f"there is no task {task.id} in this environment")
        try:
            digest = found.digest()
        except BadFolder as failure:
            raise EnvironmentFailure(str(failure)) from failure
        if digest != task.payload["digest"]:
            raise EnvironmentFailure(
                f"{found.folder} holds another task than when this climb began"
            )
        return found

    def image(self, task: Task) -> Image:
        """What the recipe came to."""
        return self._built[task.id].image

    def shell(self, task: Task) -> tuple[str, ...]:
        """In the task's working directory, with its variables."""
        words = super().shell(task)
        return tuple(self._built[task.id].command(*words, more=self._foreign[task.id].env))

    def editor(self, task: Task, session: Session) -> Editor:
        """Of all files of the box."""
        home = self._built[task.id].workdir
        return Editor(session, most_bytes=self.limits.output_bytes, top="/", home=home)

    def open_box(self, task: Task, saved: tuple[Layer, ...]) -> Box:
        """A box of this task; a container is the task's image as it is."""
        if self._containers is None:
            return super().open_box(task, saved)
        stack = ExitStack()
        image = self._containers.image(task.id)
        session = stack.enter_context(self._containers.engine.session(image, self.limits))
        has_bash = session.run(["sh", "-c", "command -v bash"], limits=self.limits).is_ok
        words = BASH if has_bash else SH
        return Box(
            session=session,
            image=Image(),
            saved=(),
            editor=self.editor(task, session),
            stack=stack,
            task=task.id,
            shell=tuple(self._built[task.id].command(*words, more=self._foreign[task.id].env)),
        )

    def save_state(self, state: dict[str, Any]) -> bytes | None:
        """As any shell; of a container nothing: an attempt whose container is lost begins anew."""
        return None if self._containers is not None else super().save_state(state)

    def grade(self, task: Task, reply: str, state: dict[str, Any]) -> Grade:  # noqa: ARG002
        """The folder's own tests, in a fresh box over what the agent left."""
        box: Box = state[BOX]
        foreign = self.foreign(task)
        if self._containers is not None:
            with held(box) as session:
                return self._containers.verified(
                    foreign,
                    self._built[task.id],
                    cast(RootSession, session),
                    limits=self.limits,
                    env=foreign.env,
                    wanted=self._reward,
                )
        with held(box) as session:
            changes = changes_in(box)
            layers = [session.freeze(f"{box.salt}-graded")] if session.changes(0) else []
        judge = self._judges.get(task.id)
        left = box.image.over(*layers)
        if judge is None:
            layers += without_links(changes, self.store, f"{box.salt}-links")
            left = box.image.over(*layers)
        else:
            taken = f"{box.salt}-artifacts"
            layers.append(layer_of_artifacts(left, foreign.artifacts, self.store, taken))
            left = judge.image.over(layers[-1])
        try:
            return verified(
                foreign,
                judge or self._built[task.id],
                replace(left, packages=self._packages),
                box=self.sandbox,
                store=self.store,
                limits=self.limits,
                env=foreign.env,
                wanted=self._reward,
            )
        except SandboxError as failure:
            raise EnvironmentFailure(f"the tests of {task.id} did not run: {failure}") from failure
        finally:
            for layer in layers:
                forget_layer(layer)

    def close(self) -> None:
        """End the sandbox, or what is left in the engine."""
        if self._containers is not None:
            self._containers.close()
        elif self._sandbox is not None:
            self._sandbox.close()

    def gold_policy(self, task: Task) -> Policy | None:
        """Brings the solution into the box with the tools that every policy has, and runs it."""
        foreign = self.foreign(task)
        if not foreign.solution:
            return None
        seconds = self.most_wall_s
        turns = iter([*gold_commands(foreign), None])

        def policy(seen: Sequence[Message]) -> Message | str:
            if seen and seen[-1].content.startswith("Error"):
                raise EnvironmentFailure(f"the solution of {task.id}: {seen[-1].content[:200]}")
            command = next(turns)
            if command is None:
                return "It is done."
            return _call(command, seconds)

        return policy


def failure_of(left_out: dict[str, str]) -> str:
    """The first reason of several."""
    return next(iter(left_out.values()), "")


def gold_commands(task: Foreign) -> Iterator[str]:
    """What brings /solution into a box, and runs it."""
    yield "mkdir -p /solution"
    for name, contents in files_of(task.solution):
        place = shlex.quote(f"/solution/{name}")
        yield f"mkdir -p {shlex.quote(str(Path('/solution', name).parent))} && : > {place}"
        for start in range(0, len(contents), PART):
            part = base64.b64encode(contents[start : start + PART]).decode()
            yield f"echo {part} | base64 -d >> {place}"
    pairs = [shlex.quote(f"{name}={value}") for name, value in task.solve_env.items()]
    yield f"chmod +x /solution/{task.solve} && env {' '.join(pairs)} sh -c /solution/{task.solve}"


def _call(command: str, seconds: float) -> Message:
    arguments = json.dumps({"command": command, "wall_s": seconds})
    made = ToolCall(id="gold", name="bash", arguments=arguments)
    return Message(role="assistant", content="", tool_calls=(made,))


def folders_in(path: Path) -> list[Path]:
    """The tasks' folders in a folder, or the folder itself where it is one.

    Raises:
        BadFolder: there is none.
    """
    if is_foreign(path):
        return [path]
    if not path.is_dir():
        raise BadFolder(f"{path}: there is no such folder")
    found = sorted(each for each in path.iterdir() if is_foreign(each))
    if not found:
        raise BadFolder(f"{path} holds no task's folder: one has a task.toml or a task.yaml")
    return found
