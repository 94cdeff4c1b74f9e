"""What a container has used, as its control groups count it: no process slips through.

Read by process 1 in there (`docker_supervisor`), from either version of the kernel's interface.
Standard library only.
"""

from __future__ import annotations

import os
import time

TEMP, CGROUP = "/tmp", "/sys/fs/cgroup"
MIB = 1 << 20


def first_of(*paths: str) -> str:
    """The first of these files of the control group that is there (v1 and v2 name them apart)."""
    for path in paths:
        if os.path.exists(f"{CGROUP}/{path}"):
            return f"{CGROUP}/{path}"
    raise SystemExit(f"no control group tells {paths[0]!r} in this container")


def figures(path: str) -> dict[str, int]:
    """A control group's file as numbers by name; a bare number has the name ""."""
    with open(path) as file:
        rows = [line.split() for line in file]
    return {row[0] if row[1:] else "": int(row[-1]) for row in rows if row[-1].isdigit()}


class Meter:
    """What the container has used, as its control groups count it: no process slips through."""

    def __init__(self) -> None:
        self.cpu_file = first_of("cpuacct/cpuacct.usage", "cpu,cpuacct/cpuacct.usage", "cpu.stat")
        self.memory_file = first_of("memory/memory.stat", "memory.stat")
        self.killed_file = first_of("memory/memory.oom_control", "memory.events")
        self.pids_file = first_of("pids/pids.events", "pids.events")
        self.alive_file = first_of("pids/pids.current", "pids.current")
        self.cpu_0, self.memory_0 = self._cpu_s(), 0.0
        self.memory_0 = self.memory_mb()
        self.killed_0 = figures(self.killed_file).get("oom_kill", 0)
        self.refused_0 = figures(self.pids_file).get("max", 0)

    def _cpu_s(self) -> float:
        """Of all in the container but this process."""
        used = figures(self.cpu_file)
        all_s = used["usage_usec"] / 1e6 if "usage_usec" in used else used[""] / 1e9
        return all_s - time.process_time()

    def cpu_s(self) -> float:
        return self._cpu_s() - self.cpu_0

    def memory_mb(self) -> float:
        """Without files, which have a limit of their own."""
        used = figures(self.memory_file)
        held = used.get("rss", 0) + used.get("anon", 0) + used.get("shmem", 0)
        return max(held / MIB - self.disk_mb() - self.memory_0, 0.0)

    def out_of_memory(self) -> bool:
        return figures(self.killed_file).get("oom_kill", 0) > self.killed_0

    def refused_a_process(self) -> bool:
        return figures(self.pids_file).get("max", 0) > self.refused_0

    def processes(self) -> int:
        return figures(self.alive_file)[""] - 1

    def disk_mb(self) -> float:
        held = os.statvfs(TEMP)
        return (held.f_blocks - held.f_bfree) * held.f_frsize / MIB


def full() -> str:
    """What of the room for files is used up: "disk", "inodes" or nothing."""
    held = os.statvfs(TEMP)
    if held.f_ffree == 0:
        return "inodes"
    return "disk" if held.f_bfree == 0 else ""
