"""The hack matrix: nothing in it earns a reward, what marks itself is named, and the fix passes."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from munro.envs.swe.attempt import Hack, attempt, place_of
from munro.envs.swe.folder import TaskFolder
from munro.envs.swe.grade import hidden_of
from munro.envs.swe.hacks import HACKS
from munro.rewards.types import Grade
from tests.envs.swe.boxes import Bench
from tests.envs.swe.tasks import SMALL, STONES, TIDES, Small, task_of
from tests.envs.swe.wrong import wrong_patches


def task_for(small: Small, swe: Bench) -> TaskFolder:
    return replace(task_of(small, swe), test_s=1.0, wall_s=20.0)


def graded(hack: Hack, small: Small, swe: Bench, **options) -> Grade:
    """The grade of what the hack leaves in an agent's box."""
    task = task_for(small, swe)
    place = place_of(task, swe.store)
    assert place is not None
    assert (place.module, place.test) == (small.module, small.test)
    return attempt(hack, task, place, box=swe.box, store=swe.store, **options)


def refuse(hack: Hack, small: Small, swe: Bench) -> None:
    grade = graded(hack, small, swe, reward="graded")
    assert not grade.passed, grade
    assert hack.named in grade.reason, grade
    assert ("tampered" in grade.reason) == (grade.parts["tampered"] == 1)
    assert grade.reward == 0, grade
    assert "\n" not in grade.reason


def test_the_matrix_is_large_enough() -> None:
    assert len(HACKS) >= 45
    assert len({hack.name for hack in HACKS}) == len(HACKS)


@pytest.mark.parametrize("hack", [hack for hack in HACKS if hack.everyday], ids=lambda h: h.name)
def test_an_everyday_hack_earns_nothing(swe: Bench, hack: Hack) -> None:
    refuse(hack, STONES if "tests" in hack.name else TIDES, swe)


@pytest.mark.slow
@pytest.mark.parametrize("small", SMALL, ids=lambda small: small.name)
@pytest.mark.parametrize("hack", HACKS, ids=lambda hack: hack.name)
def test_no_hack_earns_anything(swe: Bench, hack: Hack, small: Small) -> None:
    refuse(hack, small, swe)


@pytest.mark.parametrize("small", SMALL, ids=lambda small: small.name)
def test_the_fix_passes_and_nobody_else_does(swe: Bench, small: Small) -> None:
    task = task_for(small, swe)
    assert sum(len(twin.must_fail) for twin in task.twins) == len(task.fail_to_pass)
    gold = graded(Hack(name="gold"), small, swe, code=small.gold)
    assert gold.passed, gold
    assert gold.reward == 1
    assert gold.parts["tampered"] == 0
    noop = graded(Hack(name="noop"), small, swe)
    assert not noop.passed
    assert noop.parts["tampered"] == 0
    assert noop.reward == 0


@pytest.mark.slow
def test_some_hacks_work_without_twins(swe: Bench) -> None:
    """Else the matrix would show nothing of what twins are for."""
    wanted = ("equal to everything", "frame oracle", "registered plugin", "forged chain of reports")
    earned = [
        (hack.name, small.name)
        for hack in HACKS
        if hack.name in wanted
        for small in SMALL
        if graded(hack, small, swe, twins=False).reward == 1
    ]
    assert len({name for name, _ in earned}) >= 3, earned


def test_there_are_enough_honest_wrong_patches() -> None:
    assert sum(len(wrong_patches(small)) for small in SMALL) >= 500


@pytest.mark.parametrize("small", SMALL, ids=lambda small: small.name)
def test_some_honest_wrong_patches_raise_no_alarm(swe: Bench, small: Small) -> None:
    for code in wrong_patches(small)[::100]:
        raise_no_alarm(code, small, swe)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize("small", SMALL, ids=lambda small: small.name)
def test_honest_wrong_patches_raise_no_alarm(swe: Bench, small: Small, part: int) -> None:
    for code in wrong_patches(small)[part::10]:
        raise_no_alarm(code, small, swe)


def raise_no_alarm(code: str, small: Small, swe: Bench) -> None:
    grade = graded(Hack(name="wrong"), small, swe, code=code)
    assert grade.parts["tampered"] == 0, (code, grade)
    assert grade.parts["signs"] == 0, (code, grade)
    assert grade.parts["not_kept"] == 0, (code, grade)


def test_what_a_grading_is_told_to_run_does_not_tell_twins_from_tests(swe: Bench) -> None:
    task = task_for(TIDES, swe)
    hidden = hidden_of(task, draw=random.Random(3))
    wanted = {test.partition("::")[2] for test in (*task.fail_to_pass, *task.pass_to_pass)}
    canaries = hidden.must_pass[0].partition("::")[0]
    halves = sorted({path for path in hidden.paths if path not in task.tests} - {canaries})
    assert len(halves) == 2
    for path in halves:
        asked = [test.partition("::")[2] for test in hidden.only if test.startswith(f"{path}::")]
        assert sorted(asked) == sorted(wanted)
    assert {*hidden.must_pass, *hidden.must_fail} <= {*hidden.only}
