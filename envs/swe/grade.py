"""Grades a patch where nothing of its author runs but the patch: in a fresh box, by hidden tests.

    changes of the agent's box, as data ──► protected ──► fresh box: image, kept files, hidden
    tests, plain copies and twins of them, canaries ──► Grade

Passed is who passes every fail-to-pass and pass-to-pass test exactly once, in a run that ended by
itself, with every copy as its test, every twin failing and every canary as it should be. What is
missing has failed. A broken box is no grade.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from munro.envs.swe.folder import TaskFolder, read_from
from munro.envs.swe.protected import Guard, Kept
from munro.envs.swe.run import Ran, run_tests
from munro.envs.swe.twins import alias, renamed
from munro.rewards.errors import GraderError
from munro.rewards.sandbox import Change, Limits, Sandbox, Session
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
    twins: Mapping[str, str] = field(default_factory=dict)
    """Ids that must fail, and the test that each is a twin of."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """Ids that must do as their test does, and that test."""
    must_pass: tuple[str, ...] = ()
    must_fail: tuple[str, ...] = ()
    """Canaries."""


def hidden_of(task: TaskFolder, *, draw: random.Random, twins: bool = True) -> Hidden:
    """Hidden tests, copies, twins and canaries, with names and an order drawn anew."""
    files, paths = dict(task.tests), list(task.test_paths)
    wrong: dict[str, str] = {}
    copies: dict[str, str] = {}
    must_pass: tuple[str, ...] = ()
    must_fail: tuple[str, ...] = ()
    for twin in task.twins if twins else ():
        for source, ids, into in (
            (twin.source.encode(), twin.must_fail, wrong),
            (task.tests.get(twin.of, b""), twin.must_pass, copies),
        ):
            if ids:
                name = _word(draw)
                files[alias(twin.of, name)] = source
                paths.append(alias(twin.of, name))
                into |= {renamed(test, twin.of, name): test for test in ids}
    if twins:
        folder = PurePosixPath(task.test_paths[0])
        place = alias(str(folder), _word(draw))
        right, other = (f"test_{_word(draw)}" for _ in range(2))
        files[place] = _canaries(right, other, draw)
        must_pass, must_fail = (f"{place}::{right}",), (f"{place}::{other}",)
        paths.append(place)
    draw.shuffle(paths)
    return Hidden(
        files=files,
        paths=tuple(paths),
        twins=wrong,
        copies=copies,
        must_pass=must_pass,
        must_fail=must_fail,
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
        _prepare(session, kept, hidden, task)
        ran = run_tests(
            session,
            hidden.paths,
            seed=draw.randrange(1 << 32),
            test_s=task.test_s,
            wall_s=task.wall_s,
            imports=task.imports,
        )
        touched = _touched(session, hidden, guard, kept)
    return verdict(task, kept, hidden, ran, touched=touched, guard=guard, reward=reward)


def _prepare(session: Session, kept: Kept, hidden: Hidden, task: TaskFolder) -> None:
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
    good = ran.passed
    fail = [test for test in task.fail_to_pass if test in good]
    passing = [test for test in task.pass_to_pass if test in good]
    tampered = _tampering(hidden, ran, touched)
    odd = [test for test, of in hidden.copies.items() if of in good and test not in good]
    odd += [test for test, of in hidden.twins.items() if of in good and _of(ran, test) != "failed"]
    odd += [test for test in hidden.must_pass if test not in good]
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


def _tampering(hidden: Hidden, ran: Ran, touched: Sequence[str]) -> list[str]:
    """What no code does that only tries to do what was asked."""
    found = []
    both = ("passed", "repeated")
    twins = [test for test in hidden.twins if _of(ran, test) in both]
    if twins := [test for test in twins if _of(ran, hidden.twins[test]) in both]:
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
