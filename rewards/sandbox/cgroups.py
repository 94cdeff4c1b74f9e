"""Control groups: the memory of a run's processes, counted all together.

One group for each run that is under way, below our own group, version 1 or 2, whichever the machine
lets us write. A group that has become empty is used again. Where none can be written (an ordinary
user whom nobody delegated one to), `find` gives None and the back end limits otherwise.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from munro.rewards.errors import SandboxError
from munro.rewards.sandbox.types import Limits

MIB = 1 << 20
DYING_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """Where our groups go.

    Example:
        Parent(version=2, folder=Path("/sys/fs/cgroup/system.slice"))
    """

    version: int
    folder: Path


class Group:
    """One group. Used by one run at a time."""

    def __init__(self, version: int, folder: Path) -> None:
        self._version = version
        self.folder = folder
        folder.mkdir()
        self.entry = os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        """A process that writes 0 to it is in."""
        self._memory_mb = 0
        self._num_kills = 0

    def limit(self, limits: Limits) -> None:
        """Make it hold `limits` from now on, and count anew what hits them.

        Raises:
            SandboxError: the kernel refuses.
        """
        if limits.memory_mb != self._memory_mb:
            size = limits.memory_mb * MIB
            if self._version == 2:
                self._write("memory.max", size)
                self._write("memory.swap.max", 0, is_needed=False)
            else:
                # a limit on memory may never be above the one on memory and swap
                self._write("memory.memsw.limit_in_bytes", -1, is_needed=False)
                self._write("memory.limit_in_bytes", size)
                self._write("memory.memsw.limit_in_bytes", size, is_needed=False)
            self._memory_mb = limits.memory_mb
        self._num_kills = self._count_kills()

    def was_hit(self) -> bool:
        """Whether a process was killed for its memory since `limit`."""
        return self._count_kills() > self._num_kills

    def remove(self) -> None:
        """Take it away, once the processes in it that are dying are dead."""
        entry, self.entry = self.entry, -1
        if entry >= 0:
            os.close(entry)
        _remove(self.folder, time.monotonic() + DYING_S)

    def _count_kills(self) -> int:
        name = "memory.events" if self._version == 2 else "memory.oom_control"
        for line in (self.folder / name).read_text().splitlines():
            word, _, number = line.partition(" ")
            if word == "oom_kill":
                return int(number)
        return 0

    def _write(self, name: str, value: int, *, is_needed: bool = True) -> None:
        try:
            (self.folder / name).write_text(str(value))
        except OSError as failure:
            if is_needed:
                raise SandboxError(f"a control group took no limit: {failure}") from failure


def _remove(folder: Path, deadline: float) -> None:
    while True:
        try:
            folder.rmdir()
        except OSError as failure:
            if failure.errno != errno.EBUSY or time.monotonic() > deadline:
                return
            time.sleep(0.01)
        else:
            return


def _sweep(folder: Path) -> None:
    """Take away what callers that were killed have left."""
    here = _pid_namespace()
    for stray in folder.glob(f"munro-{here}-*"):
        pid = stray.name.split("-")[2]
        if not Path("/proc", pid).exists():
            _remove(stray, deadline=0)


def _pid_namespace() -> int:
    """Which one we are in: in another one, the same number is another process."""
    return os.stat("/proc/self/ns/pid").st_ino


class Groups:
    """Our groups, made as they are needed. Safe to use from many threads."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._free: list[Group] = []
        self._all: list[Group] = []
        self._prefix = f"munro-{_pid_namespace()}-{os.getpid()}-{os.urandom(4).hex()}"

    def take(self) -> Group:
        """An empty group.

        Raises:
            SandboxError: it could not be made.
        """
        with self._lock:
            if self._free:
                return self._free.pop()
            name = f"{self._prefix}-{len(self._all)}"
            try:
                group = Group(self._parent.version, self._parent.folder / name)
            except OSError as failure:
                raise SandboxError(f"a control group could not be made: {failure}") from failure
            self._all.append(group)
            return group

    def give_back(self, group: Group) -> None:
        """All processes in it have ended."""
        with self._lock:
            self._free.append(group)

    @property
    def folders(self) -> list[Path]:
        """Of every group that there is."""
        with self._lock:
            return [group.folder for group in self._all]

    def close(self) -> None:
        """Take all of them away."""
        with self._lock:
            for group in self._all:
                group.remove()
            self._all.clear()
            self._free.clear()


def find() -> Groups | None:
    """Groups that this process may make and limit, or None."""
    for parent in _parents():
        groups = None
        try:
            _sweep(parent.folder)
            groups = Groups(parent)
            group = groups.take()
            group.limit(Limits())
        except (OSError, SandboxError):
            if groups is not None:
                groups.close()
            continue
        groups.give_back(group)
        return groups
    return None


def _parents() -> list[Parent]:
    """Candidates, the most suitable first."""
    mounts = _mounts()
    own = _own_groups()
    found = []
    if "" in mounts:
        root, point = mounts[""]
        place = _below(point, own.get("", "/"), root)
        # a group of version 2 that has processes cannot have limited groups below it
        for folder in (place, *place.parents):
            if folder != point and point not in folder.parents:
                break
            enabled = _read(folder / "cgroup.subtree_control").split()
            if "memory" in enabled and os.access(folder, os.W_OK):
                found.append(Parent(version=2, folder=folder))
    if "memory" in mounts:
        root, point = mounts["memory"]
        found.append(Parent(version=1, folder=_below(point, own.get("memory", "/"), root)))
    return found


def _mounts() -> dict[str, tuple[str, Path]]:
    """(root within the tree, mount point) of "memory"; of version 2 under the empty name."""
    found = {}
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        root, point = left.split()[3:5]
        if kind == "cgroup2":
            found[""] = (root, Path(point))
        elif kind == "cgroup" and "memory" in options.split(","):
            found["memory"] = (root, Path(point))
    return found


def _own_groups() -> dict[str, str]:
    """Our path by controller; that of version 2 under the empty name."""
    found = {}
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _below(point: Path, path: str, root: str) -> Path:
    """Our group's folder; the mount's own where a container shows us another part of the tree."""
    inner = path[len(root) :] if root != "/" and path.startswith(root) else path
    folder = point / inner.lstrip("/")
    return folder if folder.is_dir() else point


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
