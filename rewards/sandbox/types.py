"""What a sandbox is asked and what it answers, whatever stands behind it.

A program that a model wrote is hostile: what it did, however badly it ended, is an `Outcome`. Only
a sandbox that would not start, or lost its hold, is an exception
(`munro.rewards.errors.SandboxError`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

from munro.rewards.sandbox.freeze import MOST_BYTES, Change
from munro.rewards.sandbox.image import Image, Layer
from munro.rewards.sandbox.tree import Kind

Files = Mapping[str, bytes | str]
"""Contents by path below the working directory; text is UTF-8."""
ANY_DIGITS = ("-X", "int_max_str_digits=0")
"""Python writes and reads integers of any length: contests do, and a run has its own time limit."""


class Limit(StrEnum):
    """Which limit ended a run, or cut what it left."""

    CPU = "cpu"
    WALL = "wall"
    MEMORY = "memory"
    PROCESSES = "processes"
    OPEN_FILES = "open files"
    OUTPUT = "output"
    DISK = "disk"
    INODES = "inodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may spend. All of them hold at once.

    Example:
        Limits(cpu_s=2, wall_s=4, memory_mb=256)
    """

    cpu_s: float = 5.0
    """CPU seconds, all processes of the run together where the kernel can count them so."""
    wall_s: float = 10.0
    memory_mb: int = 512
    """MiB."""
    processes: int = 32
    """Processes and threads alive at once."""
    open_files: int = 64
    """Descriptors of one process."""
    output_bytes: int = 1 << 20
    """Of stdout and stderr, each; what is over is cut, and the run ended. A session's command may
    ask for its output to be clipped instead, and goes on."""
    disk_mb: int = 64
    """MiB of files below the working directory and /tmp."""
    inodes: int = 16_384
    """Files, folders and links of a run, all together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a run did spend."""

    cpu_s: float
    wall_s: float
    memory_mb: float
    """Peak resident, MiB; 0 where it could not be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    Example:
        Outcome(status=0, stdout=b"42\\n", usage=Usage(cpu_s=0.01, wall_s=0.02, memory_mb=9))
    """

    status: int
    """Exit status; minus the signal's number when a signal ended it."""
    stdout: bytes = b""
    stderr: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Those asked for that were there: regular files, no links followed."""
    limit: Limit | None = None
    """The limit that it hit; None where it ended by itself."""
    left_out: int = 0
    """Bytes of output that were clipped."""
    usage: Usage

    @property
    def is_ok(self) -> bool:
        """It ended by itself, with status 0."""
        return self.status == 0 and self.limit is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What stands at a path of a session.

    Example:
        Found(kind=Kind.FILE, mode=0o644, size=2, contents=b"1\\n")
    """

    kind: Kind
    """`Kind.OTHER` where it cannot be read, or lies behind a link."""
    mode: int
    size: int = 0
    """Of a file, which may be more than its contents here."""
    contents: bytes = b""
    """Of a file; of a link its target."""
    names: tuple[str, ...] = ()
    """Below a folder, a slash behind those of folders; none that begins with a dot."""


class Session(ABC):
    """Several commands in one place: files stay from one to the next, processes do not."""

    @abstractmethod
    def run(
        self,
        command: Sequence[str],
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
        clip: bool = False,
        interleave: bool = False,
    ) -> Outcome:
        """As `Sandbox.run`, in this session's working directory.

        Args:
            clip: of output that is over `output_bytes`, keep the beginning and the end, with a mark
                between that says how much is missing; the command goes on to its end or its time.
            interleave: stderr goes into stdout, in the order in which it was written.
        """

    def abort(self) -> None:
        """End all that runs there now, from whatever thread; the session is of no use then.

        A `run` that waits meanwhile raises SandboxError.
        """
        raise NotImplementedError(f"{type(self).__name__} ends no command from outside")

    @abstractmethod
    def look(self, path: str, *, most_bytes: int = MOST_BYTES, depth: int = 2) -> Found | None:
        """What stands at a path, read by us and not by a program in there; None for nothing.

        Args:
            path: below the working directory, or "." for that itself.
            most_bytes: of a file's contents, or of a folder's names.
            depth: how far down to list a folder.

        Raises:
            ValueError: the path leads out of the working directory.
        """

    @abstractmethod
    def write(self, path: str, contents: bytes | str | None) -> str:
        """Write a file, as it were from outside, or with None remove one.

        A file that is there keeps its mode; folders are made; no link is followed or replaced.

        Returns:
            Why it could not be done (the disk is full, say); empty where it was.

        Raises:
            ValueError: the path leads out of the working directory.
        """

    @abstractmethod
    def freeze(self, salt: str = "") -> Layer:
        """What was written over the image, deletions included, as a layer of the sandbox's store.

        A session of `image.over(layer)` begins with the files that this one has now below the
        working directory; what is elsewhere in /tmp is not part of it. Costs what was changed.

        Args:
            salt: goes into the layer's digest: with one of its own, a layer is nobody else's, and
                may be forgotten by who made it.

        Raises:
            ValueError: the session has no image, or the sandbox no store.
        """

    @abstractmethod
    def changes(self, most_bytes: int = MOST_BYTES) -> Sequence[Change]:
        """What was written over the image, as data, sorted by path. No link is followed.

        Args:
            most_bytes: of contents, all together; files that do not fit come without theirs.

        Raises:
            ValueError: the session has no image.
        """


class Sandbox(ABC):
    """A back end that is ready. Safe to use from many threads; close it in the end.

    Example:
        with sandbox.open("namespaces", Limits(wall_s=2)) as box:
            box.run(["python3", "main.py"], files={"main.py": "print(6 * 7)"}).stdout   # b"42\\n"
    """

    limits: Limits
    """Of a run that names none."""

    @abstractmethod
    def run(
        self,
        command: Sequence[str],
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Outcome:
        """Run `command` in an empty working directory that holds `files`, and nothing else of ours.

        Args:
            command: program and arguments; never through a shell.
            files: written before it starts; sub-folders are made.
            stdin: what it may read.
            want: paths, below the working directory, to bring back.
            limits: for this run alone.

        Raises:
            SandboxError: the sandbox failed, not the program.
            ValueError: a path leads out of the working directory.
        """

    @abstractmethod
    def converse(
        self,
        command: Sequence[str],
        answer: Callable[[bytes], bytes | None],
        *,
        files: Files | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        """Run `command` and talk to it line by line while it runs.

        Args:
            answer: given each whole line that it writes on stdout (newline included), returns what
                goes to its stdin (b"" for nothing), or None to close its stdin. Called in the
                thread of the caller. A line longer than `output_bytes` ends the run.

        The first call of `answer` is with b"", before the program has written anything. The
        outcome's `stdout` is empty; all else is as for `run`.
        """

    def run_python(
        self,
        source: str,
        *,
        files: Files | None = None,
        stdin: bytes | str = b"",
        want: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Outcome:
        """Run Python source as `__main__`: from a warm interpreter where the back end has them."""
        return self.run(
            ["python3", "-I", *ANY_DIGITS, "main.py"],
            files={**(files or {}), "main.py": source},
            stdin=stdin,
            want=want,
            limits=limits,
        )

    def converse_python(
        self,
        source: str,
        answer: Callable[[bytes], bytes | None],
        *,
        files: Files | None = None,
        limits: Limits | None = None,
    ) -> Outcome:
        """`converse` with Python source, from a warm interpreter where there is one."""
        return self.converse(
            ["python3", "-I", "-u", *ANY_DIGITS, "main.py"],
            answer,
            files={**(files or {}), "main.py": source},
            limits=limits,
        )

    @abstractmethod
    def session(
        self,
        *,
        image: Image | str | None = None,
        files: Files | None = None,
        loopback: bool = False,
        keep_processes: bool = False,
        limits: Limits | None = None,
    ) -> AbstractContextManager[Session]:
        """A working directory that lives over several commands.

        Args:
            image: what is in it at first, or the name of that (`named`); what is written to it
                stays in the session.
            files: written over that.
            loopback: TCP and UDP between the session's own processes, over 127.0.0.1 and ::1.
            keep_processes: what a command leaves running goes on until the session ends, or until
                it is over a limit together with the rest. What is to go on must write to files:
                the output of its command ends with that.
            limits: of each command that names none; `disk_mb` and `inodes` are the session's.

        Raises:
            SandboxError: the sandbox failed, or a layer of the image is gone.
            ValueError: the image is not one of this sandbox's store.
        """

    @abstractmethod
    def has(self, program: str) -> bool:
        """Whether `program` is to be found in there."""

    @abstractmethod
    def close(self) -> None:
        """End everything that runs, and free what is held. Safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
