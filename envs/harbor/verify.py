"""Tests of a task, run after the agent in a fresh box over all that it left.

agent's box        frozen, as data; its processes end with it
fresh box          the image, what the agent left, and on top: /tests as they are, no solution,
                   /logs/verifier empty, and what the loader of programs reads as it was
reward             what the tests wrote to /logs/verifier in that box, and nothing older
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from munro.envs.harbor.built import Built
from munro.envs.harbor.folder import Foreign, files_of
from munro.envs.harbor.rewards import MOST_BYTES, grade_of, grade_of_summary
from munro.rewards.sandbox import (
    Change,
    Image,
    Kind,
    Layer,
    Limits,
    Outcome,
    Sandbox,
    Session,
)
from munro.rewards.sandbox.image import SOME_TIME_NS, write_layer
from munro.rewards.sandbox.tree import Writer
from munro.rewards.types import Grade

LOGS = "logs/verifier"
CACHE = Path("/etc/ld.so.cache")
"""Of this machine, whose libraries all boxes have."""
REWARDS = ("reward.json", "reward.txt")


def without_links(changes: Sequence[Change], store: Path, salt: str) -> list[Layer]:
    """A layer that takes away the links of an agent's that lead to where tests will be.

    A file whose right contents lie beside the tests must not be a link to them. Whatever else leads
    there, by other links or through /proc, has a part called "tests" somewhere on its way.
    """
    bad = [
        change.path
        for change in changes
        if change.kind is Kind.LINK and "tests" in change.target.split("/")
    ]
    if not bad:
        return []
    modes = {change.path: change.mode for change in changes if change.kind is Kind.FOLDER}

    def write(writer: Writer) -> None:
        folders: set[str] = set()
        for path in bad:
            parts = path.split("/")
            for depth in range(1, len(parts)):
                folder = "/".join(parts[:depth])
                if folder not in folders:
                    folders.add(folder)
                    mode = modes.get(folder, 0o755)
                    writer.folder(os.fsencode(folder), mode, SOME_TIME_NS, is_opaque=False)
            writer.deleted(os.fsencode(path))

    return [write_layer(store, write, salt)]


def layer_of_tests(task: Foreign, store: Path) -> Layer:
    """What stands over everything that an agent left: tests, no solution, no rewards.

    Folders are opaque: nothing that is below them in lower layers is there. In /etc only what would
    have every program load the agent's code is as it was.
    """

    def write(writer: Writer) -> None:
        folders: set[str] = set()
        for name in ("logs", LOGS, "solution", "tests"):
            writer.folder(name.encode(), 0o755, SOME_TIME_NS, is_opaque=name != "logs")
            folders.add(name)
        writer.folder(b"etc", 0o755, SOME_TIME_NS, is_opaque=False)
        writer.deleted(b"etc/ld.so.preload")
        if CACHE.is_file():
            cache = CACHE.read_bytes()
            writer.file(b"etc/ld.so.cache", 0o644, SOME_TIME_NS, len(cache), [(0, cache)])
        for name, contents in files_of(task.tests):
            parts = f"tests/{name}".split("/")
            for depth in range(2, len(parts)):
                folder = "/".join(parts[:depth])
                if folder not in folders:
                    writer.folder(os.fsencode(folder), 0o755, SOME_TIME_NS, is_opaque=False)
                    folders.add(folder)
            path = os.fsencode("/".join(parts))
            writer.file(path, mode_of(task, name), SOME_TIME_NS, len(contents), [(0, contents)])

    return write_layer(store, write)


def mode_of(task: Foreign, name: str) -> int:
    """Of a file below /tests: what judges may be run, and what may be run in the folder."""
    for part in task.tests:
        path = part / name if part.is_dir() else part
        if path.name == Path(name).name and path.is_file():
            may_run = name == task.script or path.stat().st_mode & stat.S_IXUSR
            return 0o755 if may_run else 0o644
    return 0o644


def verified(
    task: Foreign,
    built: Built,
    left: Image,
    *,
    box: Sandbox,
    store: Path,
    limits: Limits,
    env: Mapping[str, str],
    wanted: str,
) -> Grade:
    """The grade of what an agent left.

    Args:
        left: the image with what the agent wrote over it.
        limits: of the box; the seconds are the task's.
        env: variables of the box.
        wanted: which of several rewards is paid.

    Raises:
        SandboxError: a box failed.
        EnvironmentFailure: it is not to be told which reward is meant.
    """
    limits = replace(limits, wall_s=task.test_s, cpu_s=max(limits.cpu_s, task.test_s))
    image = left.over(layer_of_tests(task, store))
    with box.session(image=image, limits=limits, loopback=True) as session:
        done = session.run(
            built.command("sh", "-c", f"/tests/{task.script}", more={**env, **task.test_env}),
            clip=True,
            interleave=True,
        )
        return grade_in(session, task, done, wanted)


def grade_in(session: Session, task: Foreign, done: Outcome, wanted: str) -> Grade:
    """The grade of a box in which the tests have run."""
    said = done.stdout.decode(errors="replace")
    if task.form == "terminal-bench":
        return grade_of_summary(said, done.status if done.limit is None else -1)
    last = said.strip().splitlines()
    line = f"exit status {done.status}{f', {last[-1][:120]}' if last else ''}"
    if done.limit is not None:
        line = f"the tests were over their {done.limit}"
    found = {}
    for name in REWARDS:
        seen = session.look(f"{LOGS}/{name}", most_bytes=MOST_BYTES)
        if seen is not None and seen.kind is Kind.FILE and seen.size <= MOST_BYTES:
            found[name] = seen.contents
    return grade_of(found, wanted, task.id, line)
