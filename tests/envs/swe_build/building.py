"""A build without a package index and without the machine's own files, also as a process to kill.

python -m tests.envs.swe_build.building REPO OUT STORE
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from munro.envs.swe.run import pytest_layer
from munro.envs.swe_build.build import Builder, Options
from munro.envs.swe_build.candidates import contents_at, made
from munro.envs.swe_build.git import Repository, walk
from munro.envs.swe_build.journal import Journal
from munro.envs.swe_build.made.bugs import propose_bugs
from munro.envs.swe_build.packages.requirements import Needs
from munro.envs.swe_build.validate import Bounds
from munro.rewards import sandbox
from munro.rewards.sandbox import Layer, Sandbox

NUMBER = 5
OPTIONS = Options(bounds=Bounds(rounds=2, mutants=3, hunks=2), test_s=2, wall_s=30, jobs=2)


class Installed:
    """The pytest of this interpreter, whatever is needed: nothing is asked of an index."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def layer(self, needs: Needs, seconds: int) -> tuple[Layer, str]:
        return pytest_layer(self._store), ""


def builder(repository: Repository, out: Path, box: Sandbox, store: Path) -> Builder:
    settings = {"repository": repository.resolve("HEAD")}
    return Builder(
        repository=repository,
        out=out,
        options=OPTIONS,
        journal=Journal.open(out, settings, resume=True),
        box=box,
        packages=Installed(store),
        store=store,
        say=lambda line: None,
        shown=[],
    )


def build_bugs(repository: Repository, out: Path, box: Sandbox, store: Path) -> Builder:
    """The first bugs of a repository."""
    tree = contents_at(repository, "HEAD")
    chosen = made(propose_bugs(repository, tree, "lengths", seed=0), NUMBER)
    maker = builder(repository, out, box, store)
    maker.build(chosen.proposals)
    return maker


def written(out: Path) -> dict[str, str]:
    """Digest of every file of every task."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in walk(out)
        if path.relative_to(out).parts[0] not in ("journal.jsonl", ".work", ".lock")
    }


def main() -> None:
    repo, out, store = map(Path, sys.argv[1:])
    with sandbox.open("namespaces", store=store) as box:
        build_bugs(Repository(repo), out, box, store)


if __name__ == "__main__":
    main()
