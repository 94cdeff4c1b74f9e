"""Software engineering: a repository in a box, a statement, and hidden tests in another box.

    prompt   The repository in your working directory is to be changed: ...
    tools    bash and str_replace_editor, over the episode's own box (`munro.envs.shell`)
    grade    passed: in a fresh box with the kept changes all hidden tests pass, copies as their
             tests, twins and canaries as they should (`grade`)

A folder of tasks is what `munro swe build` makes (`folder`); its layers lie in `.layers` beside
them. A task's payload names its folder and a digest: hidden tests are read when they are needed,
and are never in a prompt, in the store, or in the agent's box.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, get_args

from munro.envs.base import Policy
from munro.envs.shell import BOX, Box, Shell, held
from munro.envs.swe.changes import merged
from munro.envs.swe.diff import diff_of
from munro.envs.swe.folder import LAYERS, BadTask, TaskFolder, is_ours, read_folder, read_from
from munro.envs.swe.grade import Reward, grade_changes
from munro.envs.types import Message, Task
from munro.rewards.errors import EnvironmentFailure
from munro.rewards.sandbox import Change, Image
from munro.rewards.sandbox.freeze import MOST_BYTES, changes_of
from munro.rewards.types import Grade

PROMPT = """The working directory holds a repository that is to be changed:

{statement}

Change its code so that this is done, and nothing else is broken. Hidden tests decide, in another
place: what you write into the repository's own tests or into settings of its tests is not kept.
End with a turn that calls no tool."""


class Swe(Shell):
    """Pull requests, bugs and removed functions of repositories (`munro swe build`)."""

    name = "swe"
    file_args: ClassVar[tuple[str, ...]] = ("path", "store")

    def __init__(
        self,
        path: str,
        store: str = "",
        reward: str = "solved",
        test_share: float = 0.1,
        prompt: str = PROMPT,
        backend: str = "namespaces",
    ) -> None:
        """Read every task once, to check that it is what was proven.

        Args:
            path: folder of task folders, or one of them.
            store: of their layers; `.layers` in `path` unless given.
            reward: "solved" (1 or 0) or "graded" (share of mended tests times share of others).
            test_share: share of the tasks that is held out, by their digests.
            prompt: what is asked, with {statement} in it.
            backend: of the sandbox; one that has images.
        """
        if reward not in get_args(Reward):
            raise BadTask(f"reward = {reward!r}: write 'solved' or 'graded'.")
        if not 0 <= test_share < 1:
            raise BadTask(f"test_share = {test_share}: give a share in [0, 1).")
        if "{statement}" not in prompt:
            raise BadTask(f"prompt = {prompt!r:.60}: it must hold {{statement}}.")
        folders = folders_in(Path(path).expanduser())
        top = folders[0].parent
        super().__init__(store=store or str(top / LAYERS), backend=backend)
        self._reward: Reward = "graded" if reward == "graded" else "solved"
        self._prompt = prompt
        bound = int(test_share * 2**32)
        self._sides: dict[str, list[Task]] = {"train": [], "test": []}
        for folder in folders:
            task = read_folder(folder)
            side = "test" if int(task.digest()[:8], 16) < bound else "train"
            self._sides[side].append(self._asked(task, folder))

    def _asked(self, task: TaskFolder, folder: Path) -> Task:
        return Task(
            id=task.id,
            prompt=self._prompt.replace("{statement}", task.statement.strip()),
            payload={"folder": str(folder.resolve()), "digest": task.digest()},
        )

    def tasks(self, split: str) -> Iterable[Task]:
        """The tasks of one side, in the order of their names."""
        return self._sides.get(split, [])

    def folder(self, task: Task) -> TaskFolder:
        """The whole task, hidden side and all.

        Raises:
            EnvironmentFailure: its folder is gone, or is not what it was when tasks were drawn.
        """
        try:
            found = read_folder(Path(task.payload["folder"]))
        except BadTask as failure:
            raise EnvironmentFailure(str(failure)) from failure
        if found.digest() != task.payload["digest"]:
            raise EnvironmentFailure(
                f"{task.payload['folder']} holds another task than when this climb began"
            )
        return found

    def image(self, task: Task) -> Image:
        """The repository as it was before the fix."""
        return self.folder(task).image(self.store)

    def grade(self, task: Task, reply: str, state: dict[str, Any]) -> Grade:  # noqa: ARG002
        """Hidden tests, in a fresh box, over what is kept of the agent's changes."""
        box: Box = state[BOX]
        with held(box):
            changes = changes_in(box)
        return grade_changes(
            self.folder(task), changes, box=self.sandbox, store=self.store, reward=self._reward
        )

    def evidence(self, task: Task, state: dict[str, Any]) -> Mapping[str, str]:
        """The agent's changes as a `diff`, for graders that read."""
        box: Box = state[BOX]
        with held(box):
            changes = changes_in(box)
        layers = self.folder(task).image(self.store).layers
        return {"diff": diff_of(changes, lambda path: read_from(layers, path))}

    def gold_policy(self, task: Task) -> Policy:
        """A policy that writes the solution with the tools that every policy has."""
        turns = iter([*gold_calls(self.folder(task).gold(self.store)), "It is done."])

        def policy(seen: Sequence[Message]) -> str:
            if seen and seen[-1].content.startswith("Error"):
                raise EnvironmentFailure(f"the solution of {task.id}: {seen[-1].content[:200]}")
            return next(turns)

        return policy


def gold_calls(gold: dict[str, bytes | None]) -> Iterator[str]:
    """Turns that make of a repository what the solution makes of it."""
    for path, contents in sorted(gold.items()):
        yield _call("bash", command=f"rm -f -- {_quoted(path)}")
        if contents is not None:
            text = contents.decode()
            yield _call("str_replace_editor", command="create", path=path, file_text=text)


def _call(name: str, **arguments: str) -> str:
    # a slash may be escaped in JSON: no text of the arguments closes the call
    said = json.dumps({"name": name, "arguments": arguments}).replace("</", "<\\/")
    return f"<tool_call>{said}</tool_call>"


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "'\\''") + "'"


def changes_in(box: Box) -> list[Change]:
    """All that an episode changed, in this box and in those that it was restored from."""
    parts: list[Sequence[Change]] = []
    for layer in box.saved:
        folder = os.open(layer.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            parts.append(changes_of(folder, MOST_BYTES))
        finally:
            os.close(folder)
    return merged([*parts, box.session.changes()])


def folders_in(path: Path) -> list[Path]:
    """The tasks' folders in a folder, or the folder itself where it is one.

    Raises:
        BadTask: there is none.
    """
    if (path / "task.toml").is_file():
        return [path]
    if not path.is_dir():
        raise BadTask(f"{path}: there is no such folder; `munro swe build REPO --out {path}`")
    found = sorted(each for each in path.iterdir() if (each / "task.toml").is_file())
    ours = [each for each in found if is_ours(each)]
    if found and not ours:
        raise BadTask(
            f"{path} holds tasks of Harbor's that Munro did not make: path = 'harbor' plays them"
        )
    if not ours:
        raise BadTask(f"{path} holds no task's folder: `munro swe build REPO --out {path}`")
    return ours
