"""Proves a task's folder again, on this machine: whoever made it, and whenever that was.

gold      the solution passes, in every round
nothing   no change does not pass
twins     the share of fail-to-pass tests that have one
leaks     no file that the box shows holds the fix
hacks     none of a table of ways to cheat earns anything
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from munro.envs.swe.attempt import attempt, place_of
from munro.envs.swe.folder import TaskFolder, read_folder, read_from
from munro.envs.swe.grade import LIMITS, Hidden, grade_changes, guard_of, prepare
from munro.envs.swe.hacks import HACKS
from munro.envs.swe.patch import BadPatch
from munro.envs.swe.protected import Kept
from munro.envs.swe.run import Ran, run_tests
from munro.envs.swe.twins import choose_twins
from munro.envs.swe_build.leaks import Fix, Hit, fix_of, scan
from munro.envs.swe_build.proposal import Proposal
from munro.envs.swe_build.visible import host_leaks
from munro.rewards.errors import GraderError
from munro.rewards.sandbox import Change, Kind, Sandbox

TABLES = ("none", "few", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found out about one task."""

    id: str
    problems: tuple[str, ...]
    """Why it is no task; one line each. Empty for a sound one."""
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
        return f"{self.id}: sound; {self.twins} of {self.tests} tests have twins{hacks}"


def gold_changes(task: TaskFolder, store: Path) -> list[Change]:
    """The solution, as an agent's box would have it."""
    found = []
    for path, contents in sorted(task.gold(store).items()):
        if contents is None:
            found.append(Change(path=path, kind=Kind.DELETED))
        else:
            size = len(contents)
            found.append(
                Change(path=path, kind=Kind.FILE, mode=0o644, contents=contents, size=size)
            )
    return found


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
        rounds: gradings of the solution.
        table: of hacks: one of TABLES.

    Raises:
        SandboxError: a box failed, or a layer is gone: nothing was found out.
    """
    problems = [f"{hit.path} holds the fix: {hit.why}" for hit in leaks[:1]]
    try:
        gold = gold_changes(task, store)
    except BadPatch as failure:
        return Checked(id=task.id, problems=(*problems, str(failure)))
    for number in range(rounds):
        grade = grade_changes(task, gold, box=box, store=store)
        if not grade.passed:
            problems.append(f"the solution fails in round {number + 1}: {grade.reason}")
            break
    idle = grade_changes(task, [], box=box, store=store)
    if idle.passed:
        problems.append("doing nothing passes")
    elif idle.parts["tampered"]:
        problems.append(f"doing nothing looks like cheating: {idle.reason}")
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
        tests=len(task.fail_to_pass),
        twins=twins,
        hacks=tried,
    )


def with_twins(task: TaskFolder, *, box: Sandbox, store: Path) -> TaskFolder:
    """The same task with twins of its fail-to-pass tests, chosen anew.

    Raises:
        SandboxError: a box failed.
        BadPatch: its solution does not fit.
    """
    gold = task.gold(store)
    files = {path: contents for path, contents in gold.items() if contents is not None}
    kept = Kept(files=files, deleted=tuple(set(gold) - set(files)))

    def on_gold(
        more: Mapping[str, str | bytes], paths: Sequence[str], only: Sequence[str]
    ) -> Ran:
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
