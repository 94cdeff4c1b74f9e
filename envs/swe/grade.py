"""Grades a patch where nothing of its author runs but the patch: in a fresh box, by hidden tests.

    changes of the agent's box, as data ──► protected ──► fresh box: image, kept files, hidden
    tests under drawn names, twins among them, canaries ──► Grade

Passed is who passes every fail-to-pass and pass-to-pass test exactly once, in a run that ended by
itself, with every twin failing and every canary as it should be. What is missing has failed. A
broken box is no grade.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from munro.envs.swe.folder import TaskFolder, read_from
from munro.envs.swe.protected import Guard, Kept
from munro.envs.swe.run import Ran, run_tests
from munro.envs.swe.twins import TwinFile, alias, bare, renamed
from munro.rewards.errors import GraderError
from munro.rewards.sandbox import Change, Kind, Limits, Sandbox, Session
from munro.rewards.signs import signs_of
from munro.rewards.types import Grade

Reward = Literal["solved", "graded"]
LIMITS = Limits(wall_s=60, cpu_s=60, memory_mb=2048, processes=128, disk_mb=512)
"""Of the grader's box; a run of tests has the task's own seconds."""
MOST_REASON = 400
PREPARE = """
import json, os, shutil, sys
told = json.load(sys.stdin)
for path in told["deleted"]:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
for path, target in told["links"].items():
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(target, path)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """What a grading adds to the repository, under names that were drawn for it alone."""

    files: Mapping[str, bytes]
    paths: tuple[str, ...]
    """Test files to run, in the order drawn."""
    only: tuple[str, ...] = ()
    """Ids in them that are run: each wanted test by every name it has, so that none stands out."""
    stands: Mapping[str, str] = field(default_factory=dict)
    """Ids of tests that are there under other names alone, and their own ids."""
    twins: Mapping[str, str] = field(default_factory=dict)
    """Ids that must fail, and the test that each is a twin of."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """Ids that must do as their test does, and that test."""
    must_pass: tuple[str, ...] = ()
    must_fail: tuple[str, ...] = ()
    """Canaries."""


def hidden_of(task: TaskFolder, *, draw: random.Random, twins: bool = True) -> Hidden:
    """Hidden tests, twins and canaries, with names and an order drawn anew."""
    hidden = Hidden(files={}, paths=(), only=(*task.fail_to_pass, *task.pass_to_pass))
    own = {twin.of: twin for twin in task.twins} if twins else {}
    files = {name: text for name, text in task.tests.items() if name not in task.test_paths}
    paths: list[str] = []
    for path in task.test_paths:
        source = task.tests.get(path)
        twin = own.get(path)
        if source is not None and twin is not None:
            hidden = _with_halves(hidden, task, twin, draw)
        if source is None or twin is None or not _is_free(task, twin):
            paths.append(path)
            files |= {} if source is None else {path: source}
    files |= hidden.files
    paths += hidden.paths
    if not twins:
        return replace(hidden, files=files, paths=tuple(paths))
    place = alias(task.test_paths[0], _word(draw))
    right, wrong = (f"test_{_word(draw)}" for _ in range(2))
    files[place] = _canaries(right, wrong, draw)
    paths.append(place)
    draw.shuffle(paths)
    return replace(
        hidden,
        files=files,
        paths=tuple(paths),
        only=(*hidden.only, f"{place}::{right}", f"{place}::{wrong}"),
        must_pass=(f"{place}::{right}",),
        must_fail=(f"{place}::{wrong}",),
    )


def _is_free(task: TaskFolder, twin: TwinFile) -> bool:
    """Whether a hidden file can do under another name alone: its tests do not know their file's,
    and no other file names it."""
    wanted = {t for t in (*task.fail_to_pass, *task.pass_to_pass) if _file(t) == twin.of}
    stem = PurePosixPath(twin.of).stem.encode()
    others = [text for name, text in task.tests.items() if name != twin.of]
    return wanted <= set(twin.must_pass) and not any(stem in text for text in others)


def _file(test: str) -> str:
    return test.partition("::")[0]


def _with_halves(hidden: Hidden, task: TaskFolder, twin: TwinFile, draw: random.Random) -> Hidden:
    """A hidden file under two drawn names: each test true in one of them, a twin in the other."""
    names = [_word(draw), _word(draw)]
    halves = twin.parted(task.tests[twin.of], draw)
    files = {alias(twin.of, name): half.source for name, half in zip(names, halves, strict=True)}
    stands, copies, wrong = dict(hidden.stands), dict(hidden.copies), dict(hidden.twins)
    only = list(hidden.only)
    is_free = _is_free(task, twin)
    for test in (*task.fail_to_pass, *task.pass_to_pass):
        if _file(test) != twin.of:
            continue
        only += [renamed(test, twin.of, name) for name in names]
        is_twin = [bare(test) in half.twins for half in halves]
        true, other = (1, 0) if is_twin[0] else (0, 1)
        if is_free:
            stands[renamed(test, twin.of, names[true])] = test
        elif test in twin.must_pass:
            copies[renamed(test, twin.of, names[true])] = test
        if not any(is_twin) and test in twin.must_pass:
            copies[renamed(test, twin.of, names[other])] = test
        elif any(is_twin) and test in twin.must_fail:
            wrong[renamed(test, twin.of, names[other])] = test
    return replace(
        hidden,
        files={**hidden.files, **files},
        paths=(*hidden.paths, *files),
        only=tuple(only),
        stands=stands,
        copies=copies,
        twins=wrong,
    )


def _word(draw: random.Random) -> str:
    return "".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(10))


def _canaries(right: str, wrong: str, draw: random.Random) -> bytes:
    low, high = draw.randint(2, 99), draw.randint(2, 99)
    tests = [
        f"def {right}():\n    low = {low}\n    assert low + {high} == {low + high}\n",
        f"def {wrong}():\n    low = {low}\n    assert low + {high} == {low + high + 1}\n",
    ]
    draw.shuffle(tests)
    return "\n\n".join(tests).encode()


def guard_of(task: TaskFolder, store: Path) -> Guard:
    """What an agent may not change in this task.

    Raises:
        SandboxError: a layer of its image is gone.
        BadPatch: its solution does not fit.
    """
    layers = task.image(store).layers
    files: set[str] = set()
    for layer in layers:
        for top, _, names in os.walk(layer.path):
            where = os.path.relpath(top, layer.path)
            files |= {os.path.normpath(os.path.join(where, name)) for name in names}
    return Guard(
        tests=frozenset((*task.tests, *task.removed, *task.test_paths)),
        gold=frozenset(task.gold(store)),
        original=lambda path: read_from(layers, path),
        files=frozenset(files),
    )


def grade_changes(
    task: TaskFolder,
    changes: Sequence[Change],
    *,
    box: Sandbox,
    store: Path,
    reward: Reward = "solved",
    seed: int | None = None,
    twins: bool = True,
) -> Grade:
    """What an agent's changes are worth.

    Args:
        changes: of its box, as `Session.changes` reads them.
        box: where the fresh box is opened.
        store: of layers; the sandbox's own.
        reward: "solved" (1 or 0) or "graded" (share of fail-to-pass tests times share of
            pass-to-pass tests); 0 either way for what was tampered with.
        seed: of names and order; None draws one that nobody can know.
        twins: False leaves out copies, twins and canaries: for showing what they are for.

    Raises:
        SandboxError: a box failed; no grade.
    """
    guard = guard_of(task, store)
    kept = guard.keep(changes)
    draw = random.SystemRandom() if seed is None else random.Random(seed)
    hidden = hidden_of(task, draw=draw, twins=twins)
    with box.session(image=task.image(store), limits=LIMITS) as session:
        prepare(session, kept, hidden, task)
        ran = run_tests(
            session,
            hidden.paths,
            only=hidden.only,
            seed=draw.randrange(1 << 32),
            test_s=task.test_s,
            wall_s=task.wall_s,
            imports=task.imports,
        )
        touched = _touched(session, hidden, guard, kept)
    return verdict(task, kept, hidden, ran, touched=touched, guard=guard, reward=reward)


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


def prepare(session: Session, kept: Kept, hidden: Hidden, task: TaskFolder) -> None:
    """The repository as the agent left it, as far as it is kept, with the hidden tests over it."""
    gone = [*kept.deleted, *task.removed]
    told = json.dumps({"deleted": gone, "links": dict(kept.links)})
    command = ["python3", "-I", "-S", "-B", "-c", PREPARE]
    for files in (None, kept.files, hidden.files):
        done = session.run(command if files is None else ["true"], stdin=told, files=files)
        if not done.is_ok:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise GraderError(
                f"the box of a grading could not be filled: {done.limit or (said or ['?'])[-1]}"
            )


def _touched(session: Session, hidden: Hidden, guard: Guard, kept: Kept) -> list[str]:
    """Files of the tests that are no longer what they were when the run began."""
    found = []
    for change in session.changes():
        if change.path.split("/")[0] == ".git":
            continue  # of the base, and no test's: `git status` alone writes its index
        ours = hidden.files.get(change.path)
        if ours is None:
            is_old = change.path in guard.files and change.path not in kept.files
            if is_old and change.path not in kept.deleted and guard.why_not(change.path):
                found.append(change.path)
        else:
            is_same = str(change.kind) == "file" and change.size == len(ours)
            if not is_same or change.contents not in (None, ours):
                found.append(change.path)
    return [path for path in found if not path.endswith((".pyc", ".pyo"))]


def verdict(
    task: TaskFolder,
    kept: Kept,
    hidden: Hidden,
    ran: Ran,
    *,
    touched: Sequence[str] = (),
    guard: Guard,
    reward: Reward = "solved",
) -> Grade:
    """The grade of one run."""
    good = frozenset(hidden.stands.get(test, test) for test in ran.passed)
    fail = [test for test in task.fail_to_pass if test in good]
    passing = [test for test in task.pass_to_pass if test in good]
    tampered = _tampering(hidden, ran, good, touched)
    odd = [t for t, of in hidden.copies.items() if of in good and _of(ran, t) != "passed"]
    odd += [test for test, of in hidden.twins.items() if of in good and _of(ran, test) != "failed"]
    odd += [test for test in hidden.must_pass if _of(ran, test) != "passed"]
    odd += [test for test in hidden.must_fail if _of(ran, test) != "failed"]
    is_whole = len(fail) == len(task.fail_to_pass) and len(passing) == len(task.pass_to_pass)
    is_solved = ran.is_finished and is_whole and not tampered and not odd
    rates = (
        len(fail) / max(1, len(task.fail_to_pass)),
        len(passing) / max(1, len(task.pass_to_pass)) if task.pass_to_pass else 1.0,
    )
    worth = float(is_solved)
    if reward == "graded" and not tampered and not odd and ran.is_finished:
        worth = rates[0] * rates[1]
    signs = signs_of(_added(kept, guard))
    parts = {
        "tampered": float(bool(tampered)),
        "f2p_rate": rates[0],
        "p2p_rate": rates[1],
        "finished": float(ran.is_finished),
        "not_kept": float(len(kept.refused)),
        "signs": float(len(signs)),
        "reached_out": float(len(ran.reached)),
    }
    said = [f"{len(fail)} of {len(task.fail_to_pass)} tests mended, "]
    said[0] += f"{len(passing)} of {len(task.pass_to_pass)} still pass"
    said += [f"tampered: {', '.join(tampered)}"] if tampered else []
    said += ["the run of tests did not end"] if not ran.is_finished else []
    if is_whole and odd and not tampered:
        said.append("a copy of a test did not do as the test")
    said += [f"not kept: {', '.join(kept.signs)}"] if kept.signs else []
    said += [f"looked up {ran.reached[0]}"] if ran.reached else []
    said += [f"its code {', '.join(signs)}"] if signs else []
    reason = " ".join("; ".join(said).split())[:MOST_REASON]
    return Grade(reward=worth, passed=is_solved, parts=parts, reason=reason)


def _of(ran: Ran, test: str) -> str:
    return "repeated" if test in ran.repeated else ran.results.get(test, "missing")


def _tampering(
    hidden: Hidden, ran: Ran, good: Collection[str], touched: Sequence[str]
) -> list[str]:
    """What no code does that only tries to do what was asked."""
    found = []
    both = ("passed", "repeated")
    if twins := [t for t, of in hidden.twins.items() if of in good and _of(ran, t) in both]:
        found.append(f"{len(twins)} of {len(hidden.twins)} twins passed")
    if [test for test in hidden.must_fail if _of(ran, test) in both]:
        found.append("a test passed that cannot pass")
    if [test for test in hidden.must_pass if _of(ran, test) in ("failed", "repeated")]:
        found.append("a test failed that cannot fail")
    if ran.repeated and not found:
        found.append("a test was reported twice")
    if touched:
        found.append(f"changed {touched[0][:60]} while it ran")
    return found + [flag[:80] for flag in ran.flags[:3]]


def _added(kept: Kept, guard: Guard) -> str:
    """Lines of kept Python files that the repository has not."""
    found = []
    for path, contents in kept.files.items():
        if path.endswith(".py"):
            old = set((guard.original(path) or b"").splitlines())
            found += [line for line in contents.splitlines() if line not in old]
    return b"\n".join(found).decode(errors="replace")
