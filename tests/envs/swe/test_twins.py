"""Twins: another expected value for each test, and only those that fail on what is right."""

from __future__ import annotations

from random import Random

import pytest

from munro.envs.swe.run import Ran, run_tests
from munro.envs.swe.twins import bare, choose_twins, twins_of
from tests.envs.swe.boxes import Bench

PATH = "tests/test_stones.py"
HEAD = "import unittest\nimport pytest\nfrom stones import stack, fall\n"
WAYS = {
    "assert stack(1) == 2": "assert stack(1) == 3",
    "assert 2 == stack(1)": "assert 3 == stack(1)",
    "assert stack(1) == [1, (2, 'a')]": "assert stack(1) == [1, (2, 'x')]",
    "assert stack(1) == {'a': None}": "assert stack(1) == {'a': 0}",
    "assert stack(1) is True": "assert stack(1) is False",
    "assert stack(1) == 'bäx'": "assert stack(1) == 'bäy'",
    "assert stack(1)": "assert not (stack(1))",
    "assert stack(1) == fall(2), 'no'": "assert stack(1) == (fall(2), 0), 'no'",
    "with pytest.raises(ValueError): fall()": "with pytest.raises(TypeError): fall()",
    "with pytest.raises((KeyError, OSError)): fall()": (
        "with pytest.raises(ZeroDivisionError): fall()"
    ),
    "self.assertEqual(stack(1), 2)": "self.assertEqual(stack(1), 3)",
    "self.assertEqual(stack(1), fall(1))": "self.assertEqual(stack(1), (fall(1), 0))",
    "self.assertRaises(OSError, fall)": "self.assertRaises(AttributeError, fall)",
    "self.assertIn(1, fall())": "self.assertIn(2, fall())",
    "self.assertNotIn(1, fall())": "self.assertIn(1, fall())",
    "assert 'a' in stack(1)": "assert 'x' in stack(1)",
    "assert stack(1) > 1": "assert stack(1) > 1000001",
    "assert 1 >= stack(1)": "assert -999999 >= stack(1)",
    "stack(1)": "stack(1)\n    raise AssertionError",
}


@pytest.mark.parametrize("said", WAYS)
def test_each_way_of_expecting_has_another(said: str) -> None:
    source = f"{HEAD}def test_ä(self):\n    {said}\n"
    twin = twins_of(source, [f"{PATH}::test_ä"])[0]
    assert twin.source == f"{HEAD}def test_ä(self):\n    {WAYS[said]}\n"
    assert twin.id == f"{PATH}::test_ä"


def test_tests_of_classes_are_found_where_they_are_written() -> None:
    source = (
        "class Base:\n    def test_a(self):\n        assert 1 == 1\n"
        "class TestB(Base):\n    def test_b(self):\n        assert 2 == 2\n"
    )
    ids = [f"{PATH}::TestB::test_a[x-1]", f"{PATH}::TestB::test_b", f"{PATH}::TestC::test_c"]
    twins = {twin.id: twin.source for twin in reversed(twins_of(source, ids))}
    assert list(twins) == [f"{PATH}::TestB::test_b", f"{PATH}::TestB::test_a"]
    assert "assert 1 == 2" in twins[f"{PATH}::TestB::test_a"]
    assert "assert 2 == 3" in twins[f"{PATH}::TestB::test_b"]


def test_what_is_no_python_has_no_twins() -> None:
    assert twins_of("def test_a(:\n", [f"{PATH}::test_a"]) == []


GOLD = "def stack(n):\n    return n + 1\ndef fall():\n    raise ValueError\n"
BASE = "def stack(n):\n    return n\ndef fall():\n    pass\n"
TESTS = (
    HEAD
    + """
def test_one():
    assert stack(1) == 2

@pytest.mark.parametrize("n", [1, 5])
def test_each(n):
    assert stack(n) == n + 1
    assert stack(n) <= 1 or stack(n) == 99 or True

def test_fall():
    with pytest.raises(ValueError):
        fall()

class TestOld(unittest.TestCase):
    def test_old(self):
        self.assertEqual(stack(2), 3)

def test_named():
    assert __name__ == "test_stones" and stack(1) == 2
"""
)
IDS = [
    f"{PATH}::{name}"
    for name in ("test_one", "test_each[1]", "test_each[5]", "test_fall", "TestOld::test_old")
] + [f"{PATH}::test_named"]


def test_the_chosen_fail_on_gold_and_never_pass_beside_their_tests(swe: Bench) -> None:
    def runs(stones: str):
        def run(files, paths, only=()) -> Ran:
            with swe.session({"stones.py": stones, PATH: TESTS, **files}) as session:
                return run_tests(session, paths, only=only, test_s=5, wall_s=50)

        return run

    (chosen,) = choose_twins({PATH: TESTS}, IDS, on_gold=runs(GOLD))
    assert set(chosen.must_fail) == {*IDS}
    assert set(chosen.must_pass) == {*IDS} - {f"{PATH}::test_named"}, "it knows its file's name"
    halves = chosen.parted(TESTS.encode(), Random(1))
    assert (
        halves
        == chosen.parted(TESTS.encode(), Random(1))
        != chosen.parted(TESTS.encode(), Random(5))
    )
    assert halves[0].twins | halves[1].twins == {bare(test) for test in IDS}
    assert not halves[0].twins & halves[1].twins
    for stones in (GOLD, BASE):
        both = [runs(stones)({PATH: half.source}, [PATH]).passed for half in halves]
        assert not both[0] & both[1]
        assert (both[0] | both[1] == {*IDS}) == (stones == GOLD)


def test_a_test_that_another_one_calls_has_no_twin_that_would_be_the_others_too() -> None:
    source = """
def test_near(near=None):
    assert (near or f)(1) == 2


def test_far():
    test_near(g)
    assert g(2) == 3


class TestOld:
    def test_one(self):
        assert f(3) == 4


class TestNew(TestOld):
    def test_one(self):
        super().test_one()
        assert f(4) == 5
"""
    ids = [f"{PATH}::{name}" for name in ("test_near", "test_far", "TestOld::test_one")]
    assert {twin.id for twin in twins_of(source, ids)} == {f"{PATH}::test_far"}


def test_an_inherited_test_is_a_twin_where_the_one_that_it_inherits_is(swe: Bench) -> None:
    source = """
from stones import stack


class TestOld:
    extra = 0

    def test_one(self):
        assert stack(1 + self.extra) - self.extra == 1


class TestNew(TestOld):
    extra = 1
"""

    def on_gold(files, paths, only) -> Ran:
        stones = {"stones.py": "def stack(n): return n\n", PATH: source, **files}
        with swe.session(stones) as session:
            return run_tests(session, paths, only=only, test_s=5, wall_s=50)

    old, new = f"{PATH}::TestOld::test_one", f"{PATH}::TestNew::test_one"
    (chosen,) = choose_twins({PATH: source}, [old], on_gold=on_gold, wanted=[old, new])
    assert [name for name, _ in chosen.edits] == [new, old]
    assert set(chosen.must_fail) == set(chosen.must_pass) == {new, old}
    for seed in range(4):
        halves = chosen.parted(source.encode(), Random(seed))
        assert sorted(len(half.twins) for half in halves) == [0, 2]


def test_a_twin_that_leaves_something_behind_is_none(swe: Bench) -> None:
    gold = "MOST = 100\ndef stack(n):\n    return n + 1 if n < MOST else 0\n"
    source = """
import stones


def test_bound():
    stones.MOST = 5
    assert stones.stack(2) == 3
    stones.MOST = 100


def test_near():
    assert stones.stack(3) == 4


def test_far():
    assert stones.stack(50) == 51
"""
    runs = []

    def on_gold(files, paths, only) -> Ran:
        runs.append(paths)
        with swe.session({"stones.py": gold, PATH: source, **files}) as session:
            return run_tests(session, paths, only=only, test_s=5, wall_s=50)

    ids = [f"{PATH}::test_{name}" for name in ("bound", "far", "near")]
    (chosen,) = choose_twins({PATH: source}, ids, on_gold=on_gold)
    assert chosen.must_fail == (f"{PATH}::test_far", f"{PATH}::test_near")
    assert [name for name, _ in chosen.edits] == [*chosen.must_fail]
    assert len(chosen.must_pass) == 3
    halves = chosen.parted(source.encode(), Random(0))
    files = {f"tests/test_{name}.py": half.source for name, half in zip("ab", halves, strict=True)}
    for paths in ([*files], [*files][::-1]):
        passed = {name.partition("::")[2] for name in on_gold(files, paths, ()).passed}
        assert passed == {"test_bound", "test_far", "test_near"}
