"""From a proposal to a task's folder: base, packages, rounds, strength, leaks, statement, twins.

Each proposal is worked on by one thread, in a folder of its own that goes away with it; what is
kept is renamed into place whole. So a build that is killed has lost only what was in hand, and the
same repository gives the same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from munro.envs.swe.folder import TaskFolder
from munro.envs.swe.grade import gold_changes, grade_changes
from munro.envs.swe_build.candidates import contents_at
from munro.envs.swe_build.errors import BadRepository, Dropped
from munro.envs.swe_build.finish import Finished, write_task
from munro.envs.swe_build.git import Repository
from munro.envs.swe_build.history import (
    allowed_commits,
    leftovers,
    write_history,
    write_planted_history,
    write_tree,
)
from munro.envs.swe_build.journal import KEPT, PASSED, Journal
from munro.envs.swe_build.leaks import Hit, fix_of, scan
from munro.envs.swe_build.packages.requirements import Needs, needs_of
from munro.envs.swe_build.proposal import Proposal, over
from munro.envs.swe_build.statements.interface import interface_of
from munro.envs.swe_build.statements.rewrite import Rewrite
from munro.envs.swe_build.statements.statement import LEAST_CHARS, Statement, of_failures, stated
from munro.envs.swe_build.suite import Clock, Suite
from munro.envs.swe_build.validate import Bounds, Verdict, measured, run_rounds
from munro.envs.swe_build.visible import host_leaks
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Image, Layer, Sandbox, layer_of

WORK = ".work"
MOST_LEAK = 0.5
"""Share of the fix's lines in a statement, from which on there is nothing left to do."""
TRIES = 2
"""Of a proposal whose sandbox failed."""
MADE = ("bug", "function")
GRADINGS = 2
"""Of the solution of a task that is done, each with other twins in other files."""


class HasLayers(Protocol):
    """What packages are had from; see `prepare.Packages`."""

    def layer(self, needs: Needs, seconds: int) -> tuple[Layer, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How tasks are made; the same options and repository give the same tasks."""

    history: str = "none"
    """What of the past the box shows: "none" or "past"."""
    bounds: Bounds = field(default_factory=Bounds)
    test_s: float = 20.0
    """Seconds of one test."""
    wall_s: float = 300.0
    """Seconds of one run of tests."""
    jobs: int = 1
    """Proposals worked on at once."""
    issues: Mapping[str, str] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    """Of pip, in place of what the repository says; none to take its word."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """New ones for every base that has no such file: what an author found that tests need."""
    rewrite: Rewrite | None = None
    """A judge that writes statements anew; None for none."""


@dataclass(slots=True)
class Builder:
    """Makes tasks of one repository in one folder."""

    repository: Repository
    out: Path
    options: Options
    journal: Journal
    box: Sandbox
    packages: HasLayers
    store: Path
    """Of the box's layers."""
    say: Callable[[str], None]
    shown: Sequence[Path] | None = None
    """Folders of this machine that a box shows; None for those of the back end of namespaces."""
    clock: Clock = field(default_factory=Clock)
    num_made: int = 0
    """Proposals that were kept or dropped by this process."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _host: Future[Mapping[str, Sequence[Hit]]] = field(default_factory=Future)
    """What this machine shows of the fixes, by task: looked for beside the first runs."""

    def build(self, proposals: Sequence[Proposal]) -> None:
        """Make what is not made yet, several at once.

        Raises:
            BadRepository: the disk is full, or the package index cannot be had.
            SandboxError: there is no sandbox to be had.
        """
        shutil.rmtree(self.out / WORK, ignore_errors=True)
        rest = [one for one in proposals if one.id not in self.journal.done]
        if not rest:
            return
        (self.out / WORK).mkdir(parents=True)
        with (
            ThreadPoolExecutor(max_workers=2) as aside,
            ThreadPoolExecutor(max_workers=self.options.jobs) as pool,
        ):
            self._host = aside.submit(self._look_at_host, rest)
            aside.submit(self._fetch, rest)
            futures = [pool.submit(self._settle, one) for one in rest]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
            for future in futures:
                if not future.cancelled():
                    future.result()
        shutil.rmtree(self.out / WORK, ignore_errors=True)

    def _look_at_host(self, proposals: Sequence[Proposal]) -> Mapping[str, Sequence[Hit]]:
        """What this machine shows of each fix, apart from its base."""
        fixes = {
            one.id: fix_of(one, over(contents_at(self.repository, one.rev), one.planted))
            for one in proposals
            if one.id not in self.journal.shown and not self._stop.is_set()
        }
        if fixes and not self._stop.is_set():
            hits = host_leaks(fixes, self.shown)
            self.journal.show({name: hits.get(name, ()) for name in fixes})
        return self.journal.shown

    def _fetch(self, proposals: Sequence[Proposal]) -> None:
        """Have the packages of later proposals while tests of earlier ones run."""
        for one in proposals:
            if self._stop.is_set():
                return
            needs = needs_of(contents_at(self.repository, one.rev), self.options.requirements)
            with suppress(Dropped, BadRepository):  # whose turn it is will say so
                self.packages.layer(needs, one.seconds)

    def _settle(self, proposal: Proposal) -> None:
        """Keep or drop one proposal, and say so."""
        if self._stop.is_set():
            return
        try:
            with explained_disk(self.out):
                self._make_patiently(proposal)
        except Dropped as dropped:
            self.journal.drop(proposal.id, dropped)
            more = f" ({dropped.detail})" if dropped.detail else ""
            self.say(f"{proposal.id}: {dropped.reason}{more}")
        else:
            self.journal.note(proposal.id, "kept", KEPT)
            self.say(f"{proposal.id}: kept")
        self.num_made += 1

    def _make_patiently(self, proposal: Proposal) -> None:
        for number in range(TRIES):
            try:
                return self._make(proposal)
            except SandboxError:
                if number == TRIES - 1:
                    raise
        return None

    def _make(self, proposal: Proposal) -> None:
        before, base = self._base(proposal)
        needs = needs_of(before, self.options.requirements)
        layer, date = self.packages.layer(needs, proposal.seconds)
        suite = Suite(
            box=self.box,
            image=Image(layers=(base,), packages=(layer,)),
            imports=(".", *needs.python_path),
            test_s=self.options.test_s,
            wall_s=self.options.wall_s,
            clock=self.clock,
        )
        verdict = run_rounds(
            proposal, before, suite, self.options.bounds, lambda stage: self._note(proposal, stage)
        )
        strength, survivors, unneeded = measured(
            proposal, before, verdict, suite, self.options.bounds
        )
        verdict = replace(verdict, strength=strength, survivors=survivors, unneeded=unneeded)
        self._note(proposal, "strong")
        proposal, before, base = self._hidden(proposal, verdict, before, base)
        self._prove(proposal, before, [base, layer], needs.distribution)
        statement = self._statement(proposal, before, verdict)
        self._note(proposal, "leak-free")
        finished = Finished(
            proposal=proposal,
            before=before,
            base=base,
            packages=layer,
            date=date,
            needs=needs,
            history=self._history(proposal),
            statement=statement,
            interface=tuple(interface_of(proposal, before, statement.text)),
            verdict=verdict,
        )
        with self._scratch(proposal.id) as folder:
            self._prove_graded(write_task(finished, folder / proposal.id, suite))
            shutil.rmtree(self.out / proposal.id, ignore_errors=True)  # of a build that was killed
            (folder / proposal.id).rename(self.out / proposal.id)

    def _prove_graded(self, task: TaskFolder) -> None:
        """A grading pays for the solution, whichever of its tests are twins in which file.

        Raises:
            Dropped: one does not.
            SandboxError: a box failed.
        """
        gold = gold_changes(task, self.store)
        for seed in range(GRADINGS):
            began = time.monotonic()
            grade = grade_changes(task, gold, box=self.box, store=self.store, seed=seed)
            self.clock.add(time.monotonic() - began)
            if not grade.passed:
                raise Dropped("strong", "its solution is not graded as one", grade.reason)

    def _note(self, proposal: Proposal, stage: str) -> None:
        self.journal.note(proposal.id, stage, PASSED, cheap=True)

    def _history(self, proposal: Proposal) -> str:
        """A made bug has no past: the newest commit of it would be the fix."""
        return "none" if proposal.planted else self.options.history

    def _base(self, proposal: Proposal) -> tuple[dict[str, bytes], Layer]:
        """What the box begins with: its files, and the layer that holds them and their history."""
        with self._scratch(proposal.id) as folder:
            files = write_tree(self.repository, proposal.rev, folder)
            self._set_up(folder, proposal)
            if proposal.planted:
                for path, contents in proposal.planted.items():
                    if contents is None:
                        (folder / path).unlink()
                    else:
                        (folder / path).write_bytes(contents)
                write_planted_history(folder, proposal.seconds)
                left = leftovers(folder, frozenset({Repository(folder).resolve("HEAD")}))
            else:
                history = self._history(proposal)
                write_history(self.repository, proposal.rev, folder, history)
                allowed = allowed_commits(self.repository, proposal.rev, folder, history)
                left = leftovers(folder, allowed)
            if left:
                raise Dropped("leak-free", f"its history is not closed: {left[0]}")
            return over(files, proposal.planted), layer_of(folder, self.store)

    def _set_up(self, folder: Path, proposal: Proposal) -> None:
        """Files of an author's, where neither the base nor the fix has anything."""
        for path, contents in self.options.files.items():
            place = folder / path
            if path in proposal.gold or path in proposal.tests or place.is_symlink():
                continue
            if not place.exists() and place.resolve().is_relative_to(folder.resolve()):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(contents)

    def _hidden(
        self, proposal: Proposal, verdict: Verdict, before: dict[str, bytes], base: Layer
    ) -> tuple[Proposal, dict[str, bytes], Layer]:
        """A made bug's box must not hold the tests that find it."""
        if proposal.kind not in MADE:
            return proposal, before, base
        files = {name.split("::")[0] for name in verdict.fail_to_pass}
        gone = {path: None for path in proposal.tests if path in files}
        proposal = replace(proposal, planted={**proposal.planted, **gone})
        return proposal, *self._base(proposal)

    def _prove(
        self, proposal: Proposal, before: Mapping[str, bytes], shown: Sequence[Layer], own: str
    ) -> None:
        """Nothing that the box shows holds the fix.

        Raises:
            Dropped: something does.
        """
        fix = fix_of(proposal, before, [own] if own else [])
        hits = list(self._host.result().get(proposal.id, ()))
        hits += scan([layer.path for layer in shown[1:]], {"": fix}).get("", [])
        bare = replace(fix, names=frozenset())  # the repository may hold its own metadata
        hits += scan([shown[0].path], {"": bare}).get("", [])
        if hits:
            raise Dropped("leak-free", f"a visible file holds the fix: {hits[0].why}", hits[0].path)

    def _statement(
        self, proposal: Proposal, before: dict[str, bytes], verdict: Verdict
    ) -> Statement:
        if proposal.kind in MADE:
            return of_failures(proposal, verdict.shown)
        statement = stated(proposal, before, self.options.issues)
        if self.options.rewrite is not None:
            statement = self.options.rewrite(proposal, before, statement)
        if len(statement.text) < LEAST_CHARS:
            raise Dropped("leak-free", "nothing is left of its message")
        if statement.leak > MOST_LEAK:
            raise Dropped("leak-free", "its message holds the fix")
        return statement

    @contextmanager
    def _scratch(self, name: str) -> Iterator[Path]:
        work = self.out / WORK
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work, prefix=f"{name}-") as folder:
            yield Path(folder)


@contextmanager
def explained_disk(out: Path) -> Iterator[None]:
    """Turn a full disk into one sentence.

    Raises:
        BadRepository: for an `OSError` of the disk.
    """
    try:
        yield
    except OSError as failure:
        if failure.errno in FULL:
            raise BadRepository(
                f"no space left while writing below {out}: free some of that disk; then the same "
                "command with --resume goes on"
            ) from failure
        raise


FULL = {28, 122}
"""ENOSPC, EDQUOT."""
