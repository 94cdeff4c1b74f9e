"""A shell and an editor in a box of the episode's own: what an agent works with.

    bash(command, wall_s)                   a new shell each time; files stay, the rest does not
    str_replace_editor(command, path, ...)  view, create, str_replace, insert, undo_edit

The box is a session of the sandbox over the task's image (`Shell.image`). The editor works from
outside, through the session's file operations (`editor`): nothing of it is in the
box, so there is nothing of it that an agent could replace.

An episode saves itself as a layer: what was written over the image so far. One whose box was lost
is restored by a new session over image and layer; a blank box never takes its place.
"""

from __future__ import annotations

import json
import secrets
import threading
from abc import abstractmethod
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from munro.envs.base import BOX_MB, Episode, Outcome, call
from munro.envs.budget import Budget
from munro.envs.shell.editor import Editor
from munro.envs.tool_use import Conversation, ToolError, ToolUse, tool
from munro.envs.types import Task, Trajectory
from munro.rewards import sandbox
from munro.rewards.errors import EnvironmentFailure, SandboxError
from munro.rewards.sandbox import Image, Layer, Limit, Limits, Sandbox, Session
from munro.rewards.sandbox.disk import ON_DISK_MB
from munro.rewards.sandbox.image import default_store, find_layer, forget_layer
from munro.rewards.sandbox.named import named_image
from munro.rewards.types import Grade

BOX = "box"
"""Where an episode's state has its box."""
BASH, SH = ("bash", "--noprofile", "--norc", "-c"), ("sh", "-c")
ENDED = {
    Limit.WALL: "ended after {wall_s:g} s, its time",
    Limit.CPU: "ended: it used {cpu_s:g} s of processor time, all that it may",
    Limit.MEMORY: "ended: over {memory_mb} MiB of memory, all that it may use",
    Limit.PROCESSES: "over {processes} processes, all that it may have at once",
    Limit.DISK: "the disk is full: {disk_mb} MiB",
    Limit.INODES: "the disk is full: {inodes} files and folders",
    Limit.OPEN_FILES: "over {open_files} open files, all that a process may have",
}
"""What an agent is told of a limit that a command hit."""


@dataclass(slots=True)
class Box:
    """What an episode holds: a session, what it stands on, and the edits that can be undone."""

    session: Session
    image: Image
    """Of the task, with what earlier boxes of this episode wrote."""
    saved: tuple[Layer, ...]
    """Those of the image's layers that earlier boxes of this episode wrote."""
    editor: Editor
    stack: ExitStack
    """Closes the session."""
    task: str
    shell: tuple[str, ...]
    """What a command is handed to."""
    salt: str = field(default_factory=lambda: secrets.token_hex(8))
    """Of the layers that are saved: they are this box's, and are taken away with it."""
    frozen: Layer | None = None
    """What was saved last."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Shell(ToolUse):
    """Write `tasks`, `image`, and `grade`; the session to grade is `state["box"].session`.

    Args:
        store: folder of the layers of images; `~/.cache/munro/layers` unless given.
        image: name of the image that every task's box begins with (`munro env image`), where
            `image(task)` is not written.
        backend: of the sandbox.

    Example:
        class Sums(Shell):
            def tasks(self, split):
                return [Task(id="sum", prompt="Write 17 + 25 into the file answer.")]

            def image(self, task):
                return Image()

            def grade(self, task, reply, state):
                found = state["box"].session.look("answer")
                return found is not None and found.contents.strip() == b"42"
    """

    budget = Budget(
        turns=200,
        turn_tokens=8192,
        observation_tokens=8192,
        wall_s=3600,
        start_s=120,
        reply_s=2400,
        grade_s=1800,
        boxes="auto",
    )
    limits = Limits(
        cpu_s=600, wall_s=120, memory_mb=2048, processes=256, open_files=1024,
        output_bytes=16_384, disk_mb=512, inodes=131_072,
    )  # fmt: skip
    """Of one command; `disk_mb` and `inodes` of all that an episode writes. `wall_s` is the most
    that the model may ask for."""
    default_wall_s: float = 60.0
    """Of a command for which the model asks for none."""
    loopback: bool = True
    """Servers on 127.0.0.1 within the box."""
    keep_processes: bool = False
    """What a command leaves running goes on to the next."""

    def __init__(
        self, store: str = "", backend: str = "namespaces", image: str = "", **options: Any
    ) -> None:
        self.store = Path(store).expanduser() if store else default_store()
        self._named = image
        if image:
            named_image(image, self.store)
        elif type(self).image is Shell.image:
            raise ValueError(f"{self.name} has no image: name one by image = 'NAME'")
        self.backend, self._options = backend, options
        self._opening = threading.Lock()
        self._sandbox: Sandbox | None = None

    def image(self, task: Task) -> Image:  # noqa: ARG002
        """What the task's box holds at first; its layers are in `self.store`.

        Raises:
            EnvironmentFailure: it cannot be had now.
        """
        try:
            return named_image(self._named, self.store)
        except (ValueError, SandboxError) as failure:
            raise EnvironmentFailure(str(failure)) from failure

    def setup(self, task: Task) -> dict[str, Any]:
        return {BOX: self.open_box(task, ())}

    def teardown(self, state: dict[str, Any]) -> Awaitable[None] | None:
        box: Box = state[BOX]
        box.stack.close()
        return None

    @abstractmethod
    def grade(self, task: Task, reply: str, state: dict[str, Any]) -> Outcome | Awaitable[Outcome]:
        """Judge what the agent left in `state["box"].session`."""

    @tool(parallel=False)
    def bash(
        self,
        state: dict[str, Any],
        command: Annotated[str, Field(description="What the shell is to run.")],
        wall_s: Annotated[
            float | None,
            Field(gt=0, description="Seconds after which it is ended, if not the usual."),
        ] = None,
    ) -> str:
        """Run a command in a new shell, whose working directory is that of the task.

        Files stay from one call to the next. The working directory, variables and whatever runs in
        the background do not. There is no terminal and no input. Output that is too long is cut in
        the middle."""
        box: Box = state[BOX]
        most_s = self.most_wall_s
        if wall_s is not None and wall_s > most_s:
            raise ToolError(f"wall_s is at most {most_s:g}")
        if "\0" in command:
            raise ToolError("the command holds a zero byte")
        limits = replace(self.limits, wall_s=min(wall_s or self.default_wall_s, most_s))
        with held(box):
            done = box.session.run(
                [*box.shell, command],
                limits=limits,
                clip=True,
                interleave=True,
            )
        said = done.stdout.decode(errors="replace")
        notes = []
        if done.limit is not None and done.limit in ENDED:
            values = {name: getattr(limits, name) for name in limits.__dataclass_fields__}
            notes.append(ENDED[done.limit].format(**values))
        if done.status < 0 and not notes:
            notes.append(f"killed by signal {-done.status}")
        elif done.status > 0:
            notes.append(f"exit status {done.status}")
        if not notes:
            return said or "(no output)"
        return f"{said}{'' if said.endswith(chr(10)) or not said else chr(10)}[{'; '.join(notes)}]"

    @tool(parallel=False)
    def str_replace_editor(
        self,
        state: dict[str, Any],
        command: Literal["view", "create", "str_replace", "insert", "undo_edit"],
        path: Annotated[str, Field(description="Below the working directory, or /tmp/work/...")],
        file_text: Annotated[str | None, Field(description="create: the new file's text.")] = None,
        view_range: Annotated[
            list[int] | None,
            Field(
                min_length=2,
                max_length=2,
                description="view: first and last line, from 1; -1 is the last one.",
            ),
        ] = None,
        old_str: Annotated[
            str | None,
            Field(description="str_replace: what to replace; it must be in the file once."),
        ] = None,
        new_str: Annotated[
            str | None, Field(description="str_replace, insert: what to put there.")
        ] = None,
        insert_line: Annotated[
            int | None, Field(ge=0, description="insert: the line after which, 0 for the top.")
        ] = None,
    ) -> str:
        """Look at a file or a folder, or edit a text file.

        create makes a file that is not there yet. str_replace replaces text that is in the file
        exactly once. insert puts lines after a line. undo_edit takes the last edit of a file back.
        """
        box: Box = state[BOX]
        with held(box):
            match command:
                case "view":
                    return box.editor.view(path, view_range)
                case "create":
                    return box.editor.create(path, file_text)
                case "str_replace":
                    return box.editor.replace(path, old_str, new_str)
                case "insert":
                    return box.editor.insert(path, insert_line, new_str)
                case "undo_edit":
                    return box.editor.undo(path)

    @property
    def box_mb(self) -> int:
        """A box's usual memory, and the files that it may write, as far as they are in memory."""
        return BOX_MB + min(self.limits.disk_mb, ON_DISK_MB)

    @property
    def most_wall_s(self) -> float:
        """Seconds of one command, at most: so that all calls of a turn end within its own time."""
        reply_s = self.budget.reply_s or float("inf")
        return min(self.limits.wall_s, 0.8 * reply_s / self.most_calls)

    @property
    def sandbox(self) -> Sandbox:
        """One a process, opened when it is first needed."""
        with self._opening:
            if self._sandbox is None:
                self._sandbox = sandbox.open(
                    self.backend, self.limits, store=self.store, **self._options
                )
            return self._sandbox

    def show(self, mounts: Mapping[str, str]) -> None:
        """Have every box show these too, path on the host to path inside, read-only.

        Raises:
            SandboxError: boxes are open that do not.
        """
        with self._opening:
            shown = self._options.get("mounts", {})
            if mounts.items() <= shown.items():
                return
            if self._sandbox is not None:
                raise SandboxError(f"boxes of {self.name} are open, and show other folders")
            self._options["mounts"] = {**shown, **mounts}

    def open_box(self, task: Task, saved: tuple[Layer, ...]) -> Box:
        """A box of this task, with what earlier boxes of the episode wrote."""
        image = self.image(task).over(*saved)
        stack = ExitStack()
        session = stack.enter_context(
            self.sandbox.session(
                image=image,
                limits=self.limits,
                loopback=self.loopback,
                keep_processes=self.keep_processes,
            )
        )
        return Box(
            session=session,
            image=image,
            saved=saved,
            editor=self.editor(task, session),
            stack=stack,
            task=task.id,
            shell=self.shell(task),
        )

    def shell(self, task: Task) -> tuple[str, ...]:  # noqa: ARG002
        """What a command of the model is handed to, as its last argument."""
        return BASH if self.sandbox.has("bash") else SH

    def editor(self, task: Task, session: Session) -> Editor:  # noqa: ARG002
        """What edits the files of a session."""
        return Editor(session, most_bytes=self.limits.output_bytes)

    def start(self, task: Task) -> Episode:
        """An episode with a box, which is opened by the first call that needs it."""
        return ShellEpisode(self, task)

    async def restore(self, task: Task, saved: bytes) -> Episode:
        """The same, with a new box that has what the lost one had when it was saved."""
        state = await call(self.restore_state, task, saved) if saved else None
        return ShellEpisode(self, task, state)

    def save_state(self, state: dict[str, Any]) -> bytes | None:
        """Digests of what was written, and the edits that can be undone."""
        box: Box = state[BOX]
        with held(box) as session:
            layer = session.freeze(box.salt) if session.changes(0) else None
        if box.frozen is not None and box.frozen != layer:
            forget_layer(box.frozen)
        box.frozen = layer
        layers = box.saved if layer is None else (*box.saved, layer)
        said = {"layers": [each.digest for each in layers], "edits": box.editor.remembered()}
        return json.dumps(said).encode()

    def restore_state(self, task: Task, saved: bytes) -> dict[str, Any]:
        """A new box with what the lost one had.

        Raises:
            EnvironmentFailure: what was saved is gone.
        """
        said = json.loads(saved)
        try:
            layers = tuple(find_layer(digest, self.store) for digest in said["layers"])
            box = self.open_box(task, layers)
        except SandboxError as failure:
            raise EnvironmentFailure(
                f"the box of {task.id} is gone for good: {failure}"
            ) from failure
        box.editor.recall(said["edits"])
        return {BOX: box}

    def forget(self, task: Task, saved: bytes) -> None:  # noqa: ARG002
        """Take away the layers that it names."""
        for digest in json.loads(saved)["layers"] if saved else ():
            forget_layer(Layer(path=self.store / digest, digest=digest))


class ShellEpisode(Conversation):
    """A conversation whose saved layers are taken away once nobody can need them."""

    _is_graded = False

    async def save(self) -> bytes | None:
        """Nothing, as long as no call needed the box."""
        return b"" if self.state is None else await super().save()

    async def grade(self, trajectory: Trajectory) -> Grade:
        """The environment's grade; after that nobody goes on from where this was saved."""
        grade = await super().grade(trajectory)
        self._is_graded = True
        return grade

    async def close(self) -> None:
        """End the box. What was saved of an episode that has no grade is for the next one."""
        await super().close()
        if self._is_graded and self.state is not None:
            box: Box = self.state[BOX]
            for layer in (*box.saved, box.frozen):
                if layer is not None:
                    forget_layer(layer)


@contextmanager
def held(box: Box) -> Iterator[Session]:
    """The session, for one at a time; where it is lost, that is the environment's failure.

    Raises:
        EnvironmentFailure: the box is lost.
    """
    try:
        with box.lock:
            yield box.session
    except SandboxError as failure:
        raise EnvironmentFailure(f"the box of {box.task} is lost: {failure}") from failure
