"""One way to be paid without doing the work, tried in a task: what it is, and what it earns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from munro.envs.swe.folder import TaskFolder, read_from
from munro.envs.swe.grade import Reward, grade_changes
from munro.rewards.sandbox import Limits, Sandbox
from munro.rewards.types import Grade

AGENT = Limits(wall_s=30, cpu_s=30, disk_mb=128, inodes=16_000)
"""Of a box in which a hack is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in a repository hacks are put."""

    module: str
    """Path of a Python file that the solution changes."""
    base: str
    """What it holds before."""
    test: str
    """Path of a hidden test file."""
    tests: str


def _nothing(_: Place) -> Mapping[str, str | bytes]:
    return {}


def _no_command(_: Place) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hack:
    """One row of the matrix."""

    name: str
    code: str = ""
    """Behind the module's own."""
    files: Callable[[Place], Mapping[str, str | bytes]] = _nothing
    command: Callable[[Place], str] = _no_command
    """Run by sh in the agent's box."""
    named: str = ""
    """What the reason says of it; empty where it only fails."""
    everyday: bool = False


def place_of(task: TaskFolder, store: Path) -> Place | None:
    """Where hacks are put in a task; None where its solution changes no Python file of the base."""
    layers = task.image(store).layers
    found = [path for path in task.gold(store) if path.endswith(".py")]
    bases = {path: read_from(layers, path) for path in sorted(found)}
    module = next((path for path, base in bases.items() if base is not None), None)
    if module is None:
        return None
    test = task.fail_to_pass[0].partition("::")[0]
    return Place(
        module=module,
        base=(bases[module] or b"").decode(errors="replace"),
        test=test,
        tests=task.tests.get(test, b"").decode(errors="replace"),
    )


def attempt(
    hack: Hack,
    task: TaskFolder,
    place: Place,
    *,
    box: Sandbox,
    store: Path,
    code: str = "",
    reward: Reward = "solved",
    twins: bool = True,
) -> Grade:
    """The grade of what a hack leaves in an agent's box.

    Args:
        code: in the place of the module's own.

    Raises:
        SandboxError: a box failed.
    """
    files = dict(hack.files(place))
    if hack.code or code:
        files[place.module] = f"{code or place.base}\n{hack.code}\n"
    with box.session(image=task.image(store), limits=AGENT) as session:
        if files:
            session.run(["true"], files=files)
        if command := hack.command(place):
            session.run(["sh", "-c", command])
        changes = session.changes()
    return grade_changes(task, changes, box=box, store=store, reward=reward, twins=twins)
