"""Is a proposal a task? Three runs each, every one in a fresh box.

    base            what passed before anybody touched anything
    base + tests    what the hidden tests say of it: they must fail
    fix  + tests    what they say of the fix: they must pass

A test that fails before and passes after in all rounds is fail-to-pass; one that passes in all of
them is pass-to-pass; one whose result or name differs from round to round is neither. Each round
has its own hash seed, and one of them its tests in another order. The first round runs the files
whole; the others, and everything after them, run what may become part of the task.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from munro.envs.swe_build.errors import Dropped
from munro.envs.swe_build.mutants import Mutant, mutants_of, partial_fixes
from munro.envs.swe_build.nearest import nearest
from munro.envs.swe_build.proposal import Contents, Proposal
from munro.envs.swe_build.related import related
from munro.envs.swe_build.split import runs

NETWORK = re.compile(
    r"Address family not supported|Network is unreachable|Temporary failure in name resolution"
    r"|Name or service not known|Errno 97"
)
MISSING = re.compile(r"(?m)^E?\s*(?:ModuleNotFoundError|ImportError): (.{1,80})")
MOST_SAID = 300
"""Characters of a log's end that a drop quotes."""
MOST_TESTS = 20_000
"""Of one run; a suite of more is no suite for a task."""
MOST_RELATED = 3
"""Test files of the base that are run beside the hidden ones, for what must go on passing."""


class Ran(Protocol):
    """What a run of tests gives; see `munro.envs.swe.run`."""

    @property
    def results(self) -> Mapping[str, str]: ...
    @property
    def is_finished(self) -> bool: ...
    @property
    def log(self) -> str: ...
    @property
    def broken(self) -> Mapping[str, str]: ...
    @property
    def messages(self) -> Mapping[str, str]: ...


class Run(Protocol):
    """Runs test files on the base with changes over it, in a fresh box; see `Suite`."""

    def __call__(
        self,
        changes: Contents,
        paths: Sequence[str],
        number: int,
        only: Collection[str] = (),
        until_failure: bool = False,
    ) -> Ran: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a proposal must show to be kept."""

    rounds: int = 3
    mutants: int = 5
    """Fixes that are a little wrong, at most."""
    hunks: int = 6
    """Fixes without one of their hunks, at most."""
    least_strength: float = 0.5
    """Share of the wrong fixes that the tests must notice."""
    most_pass_to_pass: int = 200
    """Tests that must go on passing, those that use what the fix changes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found out about a proposal that is a task."""

    paths: tuple[str, ...]
    """Test files to run, hidden ones first."""
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...]
    unstable: int
    """Tests whose result or name differed from round to round, left out."""
    rounds: int
    strength: float | None = None
    """Share of slightly wrong fixes that fail; None where none could be made."""
    survivors: tuple[str, ...] = ()
    unneeded: tuple[str, ...] = ()
    """Hunks of the fix without which every test still passes."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """What failing tests say before the fix, by id."""


def paths_of(proposal: Proposal, before: Mapping[str, bytes]) -> tuple[str, ...]:
    """Test files of a proposal: the hidden ones, then some that have to do with the same code."""
    hidden = sorted(path for path, new in proposal.tests.items() if new is not None and runs(path))
    gone = {path for path, new in proposal.tests.items() if new is None}
    others = related(proposal.gold, before, MOST_RELATED + len(hidden))
    kept = [path for path in others if path not in hidden and path not in gone]
    return (*hidden, *kept[:MOST_RELATED])


def run_rounds(
    proposal: Proposal,
    before: Mapping[str, bytes],
    run: Run,
    bounds: Bounds,
    reached: Callable[[str], object] = str,
) -> Verdict:
    """Play the rounds and sort the tests.

    Args:
        before: every file that the box begins with.
        run: the suite; called once for each fresh box.
        reached: told each stage that is passed.

    Raises:
        Dropped: no test goes from failing to passing, or none does so each time.
    """
    paths: Sequence[str] = paths_of(proposal, before)
    fixed = {**proposal.gold, **proposal.tests}
    old_paths = [path for path in paths if path in before]
    changes_tests = any(before.get(path) != new for path, new in proposal.tests.items())
    afters, befores, olds = [], [], []
    shown: Mapping[str, str] = {}
    asked: list[str] = []
    for number in range(bounds.rounds):
        after = run(fixed, paths, number, asked)
        if number == 0:
            _check_runs(after)
            reached("suite runs")
        before_run = run(proposal.tests, paths, number, asked)
        afters.append(after)
        befores.append(before_run)
        if number == 0:
            shown = {**before_run.broken, **before_run.messages}
            if not _turned([after], [before_run]):
                raise Dropped("F2P", _why_none(after, before_run))
            reached("F2P")
        if old_paths and changes_tests:
            olds.append(run({}, old_paths, number, asked))
        if number == 0:
            asked = _asked(proposal, before, paths, (after, before_run, olds), bounds)
            paths = _in(paths, asked)
            old_paths = _in(old_paths, asked)
    turned = _turned(afters, befores)
    if not turned:
        raise Dropped("stable", "its tests do not say the same from run to run")
    reached("stable")
    kept = (_passing(afters) & _passing(befores)) - _spoken_against(olds)
    seen = set(asked).union(*(ran.results for ran in (*afters[1:], *befores[1:])))
    steady = {name for name in seen if _is_steady(name, afters) and _is_steady(name, befores)}
    return Verdict(
        paths=tuple(paths),
        fail_to_pass=tuple(sorted(turned)),
        pass_to_pass=tuple(sorted(kept & set(asked))),
        unstable=len(seen - steady),
        rounds=bounds.rounds,
        shown=_of_tests(shown, turned),
    )


def _asked(
    proposal: Proposal,
    before: Mapping[str, bytes],
    paths: Sequence[str],
    rans: tuple[Ran, Ran, Sequence[Ran]],
    bounds: Bounds,
) -> list[str]:
    """What the first round leaves to be asked: all that turned, and the nearest of the rest."""
    after, before_run, olds = rans
    passing = (_passed(after) & _passed(before_run)) - _spoken_against(olds)
    files = {path: new for path in paths if (new := proposal.tests.get(path, before.get(path)))}
    near = nearest(passing, proposal.gold, before, files, paths, bounds.most_pass_to_pass)
    return sorted(_turned([after], [before_run]) | set(near))


def _of_tests(shown: Mapping[str, str], tests: set[str]) -> dict[str, str]:
    """What these tests say, or else their files where those could not be collected."""
    files = {name.partition("::")[0] for name in tests}
    said = {name: shown[name] for name in sorted(tests & shown.keys())}
    return said or {name: shown[name] for name in sorted(files & shown.keys())}


def _turned(afters: Sequence[Ran], befores: Sequence[Ran]) -> set[str]:
    """Tests that pass after each time, and before never; what was not even collected failed."""
    passed_before = set().union(*(_passed(ran) for ran in befores))
    return _passing(afters) - passed_before


def _passing(rans: Sequence[Ran]) -> set[str]:
    return set.intersection(*(_passed(ran) for ran in rans))


def _passed(ran: Ran) -> set[str]:
    return {name for name, outcome in ran.results.items() if outcome == "passed"}


def _spoken_against(olds: Sequence[Ran]) -> set[str]:
    """Tests that did not pass on the untouched base, where they were already there."""
    return {name for ran in olds for name, outcome in ran.results.items() if outcome != "passed"}


def _is_steady(name: str, rans: Sequence[Ran]) -> bool:
    return len({ran.results.get(name) for ran in rans}) == 1


def _check_runs(after: Ran) -> None:
    """Whether the suite runs at all with the fix in place."""
    said = " ".join(after.log[-MOST_SAID:].split())
    if not after.is_finished:
        what = "the tests do not end in time, or end their interpreter"
        raise Dropped("suite runs", what, said)
    if len(after.results) > MOST_TESTS:
        raise Dropped("suite runs", f"more than {MOST_TESTS} tests")
    if not _passed(after):
        raise Dropped("suite runs", _why_nothing_passes(after), said)


def _why_nothing_passes(after: Ran) -> str:
    if NETWORK.search(after.log):
        return "the tests need the network"
    if missing := MISSING.search(after.log):
        return f"an import fails: {missing[1].strip()}"
    if not after.results:
        return "no test is found"
    return "no test passes with the fix"


def _why_none(after: Ran, before: Ran) -> str:
    if NETWORK.search(after.log):
        return "the tests need the network"
    if missing := MISSING.search("\n".join(after.broken.values())):
        return f"an import fails: {missing[1].strip()}"
    failing = set(after.results) - _passed(after)
    if failing and not set(before.results) - _passed(before) - failing:
        return "what fails before fails after too"
    return "the tests pass before the fix"


def measured(
    proposal: Proposal,
    before: Mapping[str, bytes],
    verdict: Verdict,
    run: Run,
    bounds: Bounds,
) -> tuple[float | None, tuple[str, ...], tuple[str, ...]]:
    """(strength, survivors, unneeded hunks): what the tests make of fixes that are not quite right.

    Raises:
        Dropped: they accept more of them than the bound allows.
    """
    mutants = mutants_of(proposal.gold, before, bounds.mutants)
    partial = partial_fixes(proposal.gold, before, bounds.hunks)
    names = _by_name(proposal, verdict, run) if len(mutants) + len(partial) > 1 else ()

    def accepted(wrong: Sequence[Mutant]) -> list[str]:
        return [one.what for one in wrong if _is_accepted(one, proposal, verdict, names, run)]

    survivors, unneeded = accepted(mutants), accepted(partial)
    strength = 1 - len(survivors) / len(mutants) if mutants else None
    if strength is not None and strength < bounds.least_strength:
        what = f"{len(survivors)} of {len(mutants)}: {'; '.join(survivors)}"
        raise Dropped("strong", "its tests accept most of the wrong fixes", what)
    return strength, tuple(survivors), tuple(unneeded)


def _by_name(proposal: Proposal, verdict: Verdict, run: Run) -> tuple[str, ...]:
    """The fail-to-pass tests, where pytest finds and passes them by their names; most wrong fixes
    are noticed by these alone."""
    names = verdict.fail_to_pass
    if not verdict.pass_to_pass:
        return ()  # they are all that there is
    ran = run({**proposal.gold, **proposal.tests}, _files(names), 0, names)
    return names if set(names) <= _passed(ran) else ()


def _files(tests: Collection[str]) -> list[str]:
    return sorted({test.partition("::")[0] for test in tests})


def _in(paths: Sequence[str], tests: Collection[str]) -> list[str]:
    """Those of the files that hold one of the tests."""
    files = _files(tests)
    return [path for path in paths if path in files]


def _is_accepted(
    wrong: Mutant, proposal: Proposal, verdict: Verdict, names: Sequence[str], run: Run
) -> bool:
    changes = {**wrong.gold, **proposal.tests}
    if names and not set(names) <= _passed(run(changes, _files(names), 0, names, True)):
        return False
    wanted = {*verdict.fail_to_pass, *verdict.pass_to_pass}
    ran = run(changes, _in(verdict.paths, wanted), 0, sorted(wanted), True)
    return ran.is_finished and wanted <= _passed(ran)
