"""Control groups: the memory and the number of a run's processes, counted all together.

One group for each run that is under way, below our own group, version 1 or 2, whichever the machine
lets us write. A group that has become empty is used again. Where none can be written (an ordinary
user whom nobody delegated one to), `find` gives None and the back end limits otherwise.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from rewards.errors import SandboxError
from rewards.sandbox.types import Limit, Limits

MIB = 1 << 20
CONTROLLERS = ("memory", "pids")
DYING_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """Where our groups go, for each controller.

    Example:
        Hierarchy(version=2, folders={"memory": Path("/sys/fs/cgroup/user.slice"), "pids": ...})
    """

    version: int
    folders: dict[str, Path]


@dataclass
class Group:
    """One group, in the folder of each controller. Used by one run at a time."""

    version: int
    folders: dict[str, Path]
    entries: list[int] = field(default_factory=list)
    """Open `cgroup.procs`: a process that writes 0 to all of them is in."""
    limits: tuple[int, int] = (0, 0)
    counts: dict[Limit, int] = field(default_factory=dict)

    def limit(self, limits: Limits) -> None:
        """Make it hold `limits` from now on, and count anew what hits them."""
        # one process over, so that being over can be seen from inside
        wanted = (limits.memory_mb * MIB, limits.processes + 1)
        if wanted != self.limits:
            memory, tasks = wanted
            if self.version == 2:
                self._write("memory", "memory.max", memory)
                self._write("memory", "memory.swap.max", 0, is_needed=False)
            else:
                # a limit on memory may never be above the one on memory and swap
                self._write("memory", "memory.memsw.limit_in_bytes", -1, is_needed=False)
                self._write("memory", "memory.limit_in_bytes", memory)
                self._write("memory", "memory.memsw.limit_in_bytes", memory, is_needed=False)
            self._write("pids", "pids.max", tasks)
            self.limits = wanted
        self.counts = self._hits()

    def hit(self) -> Limit | None:
        """The limit that was hit since `limit`, if one was."""
        now = self._hits()
        return next((kind for kind in now if now[kind] > self.counts[kind]), None)

    def remove(self) -> None:
        """Take it away, once the processes in it that are dying are dead."""
        for descriptor in self.entries:
            os.close(descriptor)
        self.entries.clear()
        for folder in set(self.folders.values()):
            _remove(folder, time.monotonic() + DYING_S)

    def _hits(self) -> dict[Limit, int]:
        kills = "memory.events" if self.version == 2 else "memory.oom_control"
        return {
            Limit.MEMORY: _number_after("oom_kill", self.folders["memory"] / kills),
            Limit.PROCESSES: _number_after("max", self.folders["pids"] / "pids.events"),
        }

    def _write(self, controller: str, name: str, value: int, *, is_needed: bool = True) -> None:
        try:
            (self.folders[controller] / name).write_text(str(value))
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


def _number_after(word: str, path: Path) -> int:
    """The number of the line that starts with `word`; 0 where the kernel has no such line."""
    for line in path.read_text().splitlines():
        name, _, number = line.partition(" ")
        if name == word:
            return int(number)
    return 0


class Groups:
    """Our groups, made as they are needed. Safe to use from many threads."""

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy
        self._lock = threading.Lock()
        self._free: list[Group] = []
        self._all: list[Group] = []
        self._prefix = f"munro-{_pid_namespace()}-{os.getpid()}-{os.urandom(4).hex()}"

    def take(self, limits: Limits) -> Group:
        """An empty group that holds `limits`.

        Raises:
            SandboxError: it could not be made.
        """
        with self._lock:
            group = self._free.pop() if self._free else None
            if group is None:
                group = self._make()
        group.limit(limits)
        return group

    def give_back(self, group: Group) -> None:
        """All processes in it have ended."""
        with self._lock:
            self._free.append(group)

    def close(self) -> None:
        """Take all of them away."""
        with self._lock:
            for group in self._all:
                group.remove()
            self._all.clear()
            self._free.clear()

    def _make(self) -> Group:
        name = f"{self._prefix}-{len(self._all)}"
        places = {
            controller: folder / name for controller, folder in self._hierarchy.folders.items()
        }
        group = Group(self._hierarchy.version, places)
        self._all.append(group)
        try:
            for place in sorted(set(places.values())):
                place.mkdir()
                procs = os.open(place / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
                group.entries.append(procs)
        except OSError as failure:
            raise SandboxError(f"a control group could not be made: {failure}") from failure
        return group


def find() -> Groups | None:
    """Groups that this process may make and limit, or None."""
    for hierarchy in _hierarchies():
        groups = Groups(hierarchy)
        try:
            for folder in set(hierarchy.folders.values()):
                _sweep(folder)
            groups.give_back(groups.take(Limits()))
        except (OSError, SandboxError):
            groups.close()
            continue
        return groups
    return None


def _hierarchies() -> list[Hierarchy]:
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
            if set(CONTROLLERS) <= set(enabled) and os.access(folder, os.W_OK):
                found.append(Hierarchy(version=2, folders=dict.fromkeys(CONTROLLERS, folder)))
    if set(CONTROLLERS) <= mounts.keys():
        folders = {}
        for controller in CONTROLLERS:
            root, point = mounts[controller]
            folders[controller] = _below(point, own.get(controller, "/"), root)
        found.append(Hierarchy(version=1, folders=folders))
    return found


def _mounts() -> dict[str, tuple[str, Path]]:
    """(root within the hierarchy, mount point) by controller; version 2 under the empty name."""
    found = {}
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        root, point = left.split()[3:5]
        if kind == "cgroup2":
            found[""] = (root, Path(point))
        elif kind == "cgroup":
            for controller in set(CONTROLLERS) & set(options.split(",")):
                found[controller] = (root, Path(point))
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
