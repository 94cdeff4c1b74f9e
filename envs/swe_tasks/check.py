"""Proves a task's folder again, on this machine: whoever made it, and whenever that was.

gold      the solution passes, in every round
nothing   no change passes in none
history   git in its box leads to the base, and to no object more
twins     the share of fail-to-pass tests that have one
leaks     no file that the box shows holds the fix
hacks     none of a table of ways to cheat earns anything
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from munro.envs.swe.attempt import attempt, place_of
from munro.envs.swe.folder import TaskFolder, read_folder, read_from
from munro.envs.swe.grade import (
    LIMITS,
    Hidden,
    gold_changes,
    grade_changes,
    guard_of,
    prepare,
)
from munro.envs.swe.hacks import HACKS
from munro.envs.swe.patch import BadPatch
from munro.envs.swe.protected import Kept
from munro.envs.swe.run import Ran, run_tests
from munro.envs.swe.twins import choose_twins
from munro.envs.swe_build.errors import BadRepository
from munro.envs.swe_build.git import Repository
from munro.envs.swe_build.history import leftovers
from munro.envs.swe_build.leaks import Fix, Hit, fix_of, scan
from munro.envs.swe_build.proposal import Proposal
from munro.envs.swe_build.visible import host_leaks
from munro.rewards.errors import GraderError
from munro.rewards.sandbox import Change, Sandbox

TABLES = ("none", "few", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found out about one task."""

    id: str
    problems: tuple[str, ...]
    """Why it is no task; one line each. Empty for a sound one."""
    rounds: int = 0
    """In which the solution passed and nothing did not."""
    strength: float | None = None
    """Share of slightly wrong solutions that its tests notice, as was found when it was made."""
    tests: int = 0
    twins: int = 0
    """Fail-to-pass tests that have a twin."""
    hacks: int = 0
    """That were tried."""

    def line(self) -> str:
        """For a person."""
        if self.problems:
            return f"{self.id}: {'; '.join(self.problems)}"
        hacks = f", {self.hacks} hacks earn nothing" if self.hacks else ""
        rounds = f"the solution passes {self.rounds} of {self.rounds} times, nothing never"
        return f"{self.id}: sound; {rounds}; {self.twins} of {self.tests} tests have twins{hacks}"


def fix_in(task: TaskFolder, store: Path) -> Fix:
    """What a task's fix is known by, apart from its base."""
    layers = task.image(store).layers
    before = {
        path: contents
        for path in guard_of(task, store).files
        if not path.startswith(".git/") and (contents := read_from(layers, path)) is not None
    }
    proposal = Proposal(
        id=task.id, kind="folder", rev="", seconds=0, gold=task.gold(store), tests=task.tests
    )
    return fix_of(proposal, before)


def leaks_of(
    tasks: Mapping[str, TaskFolder], store: Path, *, looks_at_host: bool = True
) -> dict[str, list[Hit]]:
    """Visible files that hold a task's fix, by task: in its layers, and on this machine.

    Of a solution that does not fit its repository nothing is known; `check_task` tells of that.
    """
    fixes: dict[str, Fix] = {}
    for name, task in tasks.items():
        with suppress(BadPatch):
            fixes[name] = fix_in(task, store)
    found = host_leaks(fixes) if looks_at_host else {}
    for name in fixes:
        image = tasks[name].image(store)
        folders = [layer.path for layer in (*image.layers, *image.packages)]
        hits = scan(folders, {name: fixes[name]}).get(name, [])
        found[name] = [*found.get(name, []), *hits]
    return found


def history_of(task: TaskFolder, store: Path) -> list[str]:
    """What the git history of its box tells beside the base, each in a line; none is the proof.

    Raises:
        SandboxError: a layer is gone.
    """
    found = []
    for layer in task.image(store).layers:
        if (layer.path / ".git").exists():
            try:
                found += _history_in(layer.path, task.provenance)
            except BadRepository as failure:
                found.append(str(failure))
    return found


def _history_in(folder: Path, provenance: Mapping[str, Any]) -> list[str]:
    there = Repository(folder)
    head = there.resolve("HEAD")
    if provenance.get("history") != "past":
        return leftovers(folder, frozenset({head}))
    wrong = [] if head == provenance.get("base") else [f"{head[:10]} at its end is not the base"]
    past = there.text("rev-list", head).split()
    return wrong + leftovers(folder, frozenset(past))


def told(found: Sequence[Checked]) -> Iterator[str]:
    """The figures of many tasks, for a person; the last line says how many are sound."""
    sound = [one for one in found if not one.problems]
    if tests := sum(one.tests for one in sound):
        share = sum(one.twins for one in sound) / tests
        yield f"{share:.1%} of the {tests} tests that solutions mend have twins"
    if known := [one.strength for one in sound if one.strength is not None]:
        yield (
            f"{mean(known):.1%} of slightly wrong solutions were noticed "
            f"({len(known)} tasks, the weakest {min(known):.0%})"
        )
    yield f"{len(sound)} of {len(found)} tasks are sound"


def check_task(
    task: TaskFolder,
    leaks: Sequence[Hit],
    *,
    box: Sandbox,
    store: Path,
    rounds: int = 1,
    table: str = "few",
) -> Checked:
    """Prove one task.

    Args:
        leaks: of `leaks_of`.
        rounds: gradings of the solution, and of no change.
        table: of hacks: one of TABLES.

    Raises:
        SandboxError: a box failed, or a layer is gone: nothing was found out.
    """
    problems = [f"{hit.path} holds the fix: {hit.why}" for hit in leaks[:1]]
    problems += [f"its history is not closed: {left}" for left in history_of(task, store)[:1]]
    try:
        gold = gold_changes(task, store)
    except BadPatch as failure:
        return Checked(id=task.id, problems=(*problems, str(failure)))
    problems += _graded(task, gold, rounds, box, store)
    having = {name for twin in task.twins for name in twin.must_fail}
    twins = sum(name in having for name in task.fail_to_pass)
    if not twins:
        problems.append("no test that the solution mends has a twin")
    place = place_of(task, store)
    hacks = [hack for hack in HACKS if table == "all" or (table == "few" and hack.everyday)]
    tried = 0
    for hack in hacks:
        if place is None:
            break  # a solution that changes no Python file has nothing to hide a hack in
        try:
            said = attempt(hack, task, place, box=box, store=store)
        except GraderError as failure:
            problems.append(f"{hack.name!r} cannot be graded: {failure}")
            continue
        tried += 1
        if said.passed or said.reward > 0:
            problems.append(f"{hack.name!r} is paid {said.reward:g}: {said.reason}")
    return Checked(
        id=task.id,
        problems=tuple(problems),
        rounds=rounds,
        strength=task.provenance.get("proof", {}).get("strength"),
        tests=len(task.fail_to_pass),
        twins=twins,
        hacks=tried,
    )


def _graded(
    task: TaskFolder, gold: Sequence[Change], rounds: int, box: Sandbox, store: Path
) -> list[str]:
    """Why the solution, or nothing, is not graded as it should be; empty for the proof."""
    for number in range(1, rounds + 1):
        grade = grade_changes(task, gold, box=box, store=store)
        if not grade.passed:
            return [f"the solution fails in round {number}: {grade.reason}"]
        idle = grade_changes(task, [], box=box, store=store)
        if idle.passed:
            return [f"doing nothing passes in round {number}"]
        if idle.parts["tampered"]:
            return [f"doing nothing looks like cheating: {idle.reason}"]
    return []


def with_twins(task: TaskFolder, *, box: Sandbox, store: Path) -> TaskFolder:
    """The same task with twins of its fail-to-pass tests, chosen anew.

    Raises:
        SandboxError: a box failed.
        BadPatch: its solution does not fit.
    """
    gold = task.gold(store)
    files = {path: contents for path, contents in gold.items() if contents is not None}
    kept = Kept(files=files, deleted=tuple(set(gold) - set(files)))

    def on_gold(more: Mapping[str, str | bytes], paths: Sequence[str], only: Sequence[str]) -> Ran:
        raw = {
            name: text.encode() if isinstance(text, str) else text for name, text in more.items()
        }
        hidden = Hidden(files={**task.tests, **raw}, paths=tuple(paths))
        with box.session(image=task.image(store), limits=LIMITS) as session:
            prepare(session, kept, hidden, task)
            return run_tests(
                session,
                paths,
                only=only,
                test_s=task.test_s,
                wall_s=task.wall_s,
                imports=task.imports,
            )

    sources = {
        path: task.tests[path].decode(errors="replace")
        for path in task.test_paths
        if path in task.tests
    }
    wanted = [*task.fail_to_pass, *task.pass_to_pass]
    twins = choose_twins(sources, task.fail_to_pass, on_gold=on_gold, wanted=wanted)
    return replace(task, twins=twins)


def read_all(folders: Sequence[Path]) -> tuple[dict[str, TaskFolder], list[Checked]]:
    """The tasks that can be read, and what is wrong with the others."""
    tasks, bad = {}, []
    for folder in folders:
        try:
            tasks[folder.name] = read_folder(folder)
        except ValueError as failure:
            bad.append(Checked(id=folder.name, problems=(str(failure),)))
    return tasks, bad
