"""What the back end of namespaces shows of the machine, and what to do where the kernel refuses."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from munro.rewards.sandbox.inside import launch, wire
from munro.rewards.sandbox.inside.place import PACKAGES, SHOWN, STORE

PYTHON_PLACE = "/opt/python"
PACKAGES_PLACE = "/opt/packages"
BARREN = ("share", "include", "__pycache__")
MOST_DEEP = 8
"""Folders below /usr in which a Python's packages are looked for; some programs bring their own."""
OURS = ("tmp", "proc", "dev", "etc")
"""Where nothing of the host may be put."""
SWITCHES = {
    "/proc/sys/user/max_user_namespaces": ("0", "sysctl user.max_user_namespaces=15000"),
    "/proc/sys/kernel/unprivileged_userns_clone": (
        "0",
        "sysctl kernel.unprivileged_userns_clone=1",
    ),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
}
"""(value that forbids it, command that allows it) by the file that tells."""


def plan_of(
    python: str | None,
    mounts: Mapping[str, str],
    packages: Sequence[str],
    preload: Sequence[str],
    store: Path | None,
) -> wire.Head:
    """What the processes inside are told."""
    shown = [[os.path.abspath(source), place] for source, place in mounts.items()]
    places = [f"{PACKAGES_PLACE}/{i}" for i in range(len(packages))]
    shown += [list(pair) for pair in zip(map(os.path.abspath, packages), places, strict=True)]
    path = [f"{place}/bin" for _, place in shown]
    environment = {"HOME": "/tmp/work", "LANG": "C.UTF-8"}
    program = Path(os.path.realpath(python or sys._base_executable))  # type: ignore[attr-defined]
    prefix = program.parent.parent
    _refuse_unseen([*mounts, *packages, str(program)], mounts.values())
    if not prefix.is_relative_to("/usr"):
        shown.append([str(prefix), PYTHON_PLACE])
        path.insert(0, f"{PYTHON_PLACE}/bin")
        program = Path(PYTHON_PLACE, "bin", program.name)
        if any(prefix.glob("lib/libpython*.so*")):
            environment["LD_LIBRARY_PATH"] = f"{PYTHON_PLACE}/lib"
    environment["PATH"] = ":".join([*path, "/usr/local/bin", "/usr/bin", "/bin"])
    libraries = host_packages(prefix)
    # /tmp is under the file system of the run, whoever runs: nothing leads to these any more
    shown += [[str(source), f"{SHOWN}/{i}"] for i, (source, _) in enumerate(libraries)]
    if store is not None:
        shown.append([os.path.abspath(store), STORE])
    inside = Path(launch.__file__).parent
    return {
        "parent": os.getpid(),
        "python": str(program),
        "mounts": shown,
        "masks": [inside for _, inside in libraries],
        "environment": environment,
        "packages": places,
        "preload": list(preload),
        "modules": [[name, (inside / f"{name}.py").read_text()] for name in launch.MODULES],
    }


@functools.cache
def host_packages(prefix: Path) -> list[tuple[Path, str]]:
    """(path, place inside) of the folders in which the host's own Pythons keep what they installed.

    Args:
        prefix: of the interpreter inside; shown at PYTHON_PLACE where it is not in /usr.
    """
    found: dict[Path, str] = {}
    for top, place in ((Path("/usr"), "/usr"), (prefix, PYTHON_PLACE)):
        for folder in _package_folders(str(top), MOST_DEEP):
            real = Path(os.path.realpath(folder))
            if real.is_dir() and real.is_relative_to(top):
                found.setdefault(real, f"{place}/{real.relative_to(top)}")
    return sorted(found.items())


def _package_folders(top: str, depth: int) -> Iterator[str]:
    with suppress(OSError), os.scandir(top) as entries:
        for entry in entries:
            if entry.name in ("site-packages", "dist-packages"):
                yield entry.path
            elif depth and entry.name not in BARREN and entry.is_dir(follow_symlinks=False):
                yield from _package_folders(entry.path, depth - 1)


def advice(failure: str) -> str:
    """One line: what the kernel refused, and which switch would mend it."""
    cure = "inside a container, start it with --privileged, or use the back end 'docker'"
    for path, (bad, command) in SWITCHES.items():
        with suppress(OSError):
            if Path(path).read_text().strip() == bad:
                cure = f"as root, run: {command}"
                break
    return f"the kernel gave no sandbox ({failure}): {cure}"


def _refuse_unseen(sources: Iterable[str], places: Iterable[str]) -> None:
    """What is to be shown must be there, and where it goes must not be ours."""
    for source in sources:
        if not os.path.exists(source):
            raise ValueError(f"the sandbox is to show {source!r}, which is not there")
    for place in places:
        parts = Path(place).parts
        is_ours = len(parts) < 2 or parts[1] in OURS or Path(place).is_relative_to(PACKAGES)
        if parts[:1] != ("/",) or ".." in parts or is_ours:
            raise ValueError(
                f"{place!r} is no place for what the sandbox is to show: write one under /opt"
            )
