"""The last step: twins that fail on gold, and the folder that holds the task."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from munro.envs.swe.folder import TaskFolder, write_folder
from munro.envs.swe.run import Ran
from munro.envs.swe.twins import RunFiles, TwinFile, bare, choose_twins
from munro.envs.swe_build.errors import Dropped
from munro.envs.swe_build.packages.requirements import Needs
from munro.envs.swe_build.patch import patch_of
from munro.envs.swe_build.proposal import Contents, Proposal
from munro.envs.swe_build.statements.statement import Statement
from munro.envs.swe_build.suite import Suite
from munro.envs.swe_build.validate import Verdict
from munro.rewards.sandbox import Layer

LICENCE = re.compile(r"(?i)^(licen[cs]e|copying|unlicense)([-._].*)?$")
SOME_PASS_TO_PASS = 8
"""Pass-to-pass tests that have twins too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """All that is known of a task that is kept."""

    proposal: Proposal
    before: Mapping[str, bytes]
    """Every file that the box begins with."""
    base: Layer
    packages: Layer
    date: str
    """That the packages stand at; "" for the newest."""
    needs: Needs
    history: str
    statement: Statement
    interface: tuple[str, ...]
    verdict: Verdict


def write_task(done: Finished, folder: Path, suite: Suite) -> TaskFolder:
    """Choose the twins, and write the folder.

    Args:
        folder: to make; its name is the task's id.
        suite: on the base that the rounds were played on.

    Raises:
        Dropped: no twin of a fail-to-pass test can be had.
        OSError: the disk is full.
        SandboxError: a box failed.
    """
    verdict, hidden = done.verdict, _hidden_files(done)
    task = TaskFolder(
        id=done.proposal.id,
        statement=told(done.statement.text, done.interface),
        layers=(done.base.digest,),
        packages=(done.packages.digest,),
        requirements=installed(done.packages),
        imports=suite.imports,
        tests=hidden,
        removed=tuple(path for path, new in done.proposal.tests.items() if new is None),
        fail_to_pass=verdict.fail_to_pass,
        pass_to_pass=verdict.pass_to_pass,
        twins=_twins(done, hidden, suite),
        patch=patch_of(
            {path: done.before.get(path) for path in done.proposal.gold}, done.proposal.gold
        ),
        test_s=suite.test_s,
        wall_s=suite.wall_s,
        provenance=_provenance(done),
    )
    write_folder(task, folder)
    return task


def told(text: str, interface: Sequence[str]) -> str:
    """A statement with the names that tests ask for and nobody could guess."""
    if not interface:
        return text
    lines = [f"- `{line}`" for line in interface]
    return "\n".join([text, "", "## Interface", "", *lines])


def installed(packages: Layer) -> tuple[str, ...]:
    """Names and versions of what a layer of packages holds, as pip takes them."""
    found = []
    for info in sorted(packages.path.glob("*.dist-info")):
        name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
        found.append(f"{name.replace('_', '-').lower()}=={version}")
    return tuple(found)


def _hidden_files(done: Finished) -> dict[str, bytes]:
    """Hidden tests, and the base's own test files that must go on passing, as they were."""
    files = {path: new for path, new in done.proposal.tests.items() if new is not None}
    for path in done.verdict.paths:
        if path not in files and path in done.before:
            files[path] = done.before[path]
    return files


def _twins(done: Finished, hidden: Mapping[str, bytes], suite: Suite) -> tuple[TwinFile, ...]:
    """Twins of every fail-to-pass test, and of some that pass before too."""
    verdict, tests = done.verdict, done.proposal.tests
    some = sorted(verdict.pass_to_pass, key=lambda name: hashlib.sha256(name.encode()).digest())
    ids = [*verdict.fail_to_pass, *some[:SOME_PASS_TO_PASS]]
    sources = {
        path: contents.decode()
        for path, contents in hidden.items()
        if any(name.partition("::")[0] == path for name in ids)
    }
    gold: Contents = {**done.proposal.gold, **tests}
    wanted = [*verdict.fail_to_pass, *verdict.pass_to_pass]
    twins = choose_twins(sources, ids, on_gold=_on(gold, suite), wanted=wanted)
    failing = {bare(name) for twin in twins for name in twin.must_fail}
    if not failing & {bare(name) for name in verdict.fail_to_pass}:
        raise Dropped("strong", "no twin of its tests fails on the fix")
    return twins


def _on(changes: Contents, suite: Suite) -> RunFiles:
    """Run test files where these changes are."""

    def run(files: Mapping[str, str | bytes], paths: Sequence[str], only: Sequence[str]) -> Ran:
        more = {path: _bytes(contents) for path, contents in files.items()}
        return suite({**changes, **more}, paths, 0, only)

    return run


def _bytes(contents: str | bytes) -> bytes:
    return contents.encode() if isinstance(contents, str) else contents


def _provenance(done: Finished) -> dict[str, Any]:
    """Where a task is from and how it was proven: nothing that differs from build to build."""
    verdict, proposal = done.verdict, done.proposal
    return {
        **proposal.provenance,
        "kind": proposal.kind,
        "date": datetime.fromtimestamp(proposal.seconds, UTC).isoformat(),
        "licences": sorted(path for path in done.before if LICENCE.match(path)),
        "history": done.history,
        "distribution": done.needs.distribution,
        "packages_of": done.date or "newest",
        "statement": {
            "source": done.statement.source,
            "leak": round(done.statement.leak, 4),
            "scrubbed": list(done.statement.scrubbed),
        },
        "proof": {
            "rounds": verdict.rounds,
            "unstable_tests": verdict.unstable,
            "strength": verdict.strength,
            "accepted_wrong_fixes": list(verdict.survivors),
            "hunks_that_no_test_needs": list(verdict.unneeded),
        },
    }
