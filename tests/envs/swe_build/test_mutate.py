"""Small wrong changes: each parses, differs in meaning, and is found at its place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from munro.envs.swe_build.mutants import mutants_of
from munro.envs.swe_build.mutate import mutations

ROOT = Path(__file__).parents[3]
CASES = [
    ("operator", "x = (a) + (  # a - b\n  b)", "x = (a) - (  # a - b\n  b)"),
    ("operator", "x = a and b", "x = a or b"),
    ("operator", "x = a is not b", "x = a is b"),
    ("operator", "x = a not in b", "x = a in b"),
    ("operator", "x = a << b", "x = a >> b"),
    ("boundary", "x = a < b", "x = a <= b"),
    ("boundary", "x = é >= b", "x = é > b"),
    ("boundary", "x = a < b < c", "x = a < b <= c"),
    ("off by one", "x = 9", "x = 10"),
    ("negated", "if a:\n    b()\nelse:\n    c()", "if not (a):\n    b()\nelse:\n    c()"),
    ("negated", "while a:\n    b()", "while not (a):\n    b()"),
    ("removed guard", "if a:\n    raise b", "if False:\n    raise b"),
    ("dropped branch", "if a:\n    b = 1\n    c = 1", "if False:\n    b = 1\n    c = 1"),
    ("swapped arguments", "f(a, b=1)\ng(a, b, c)", "f(a, b=1)\ng(b, a, c)"),
    ("lost result", "def f():\n    return a", "def f():\n    return None"),
]


@pytest.mark.parametrize(("kind", "before", "after"), CASES)
def test_each_kind(kind, before, after):
    found = [(one.kind, one.source.decode()) for one in mutations(before.encode())]
    assert (kind, after) in found


@pytest.mark.parametrize(
    "source",
    [
        "x = 'a' + b",
        "x = f'{a}' % b",
        "f(a, a)",
        "f(*a, b)",
        "return_value = None",
        "def (",
        "x = a",
    ],
)
def test_what_is_left_alone(source):
    assert mutations(source.encode()) == []


def test_they_name_their_function_and_keep_to_the_lines_asked_for():
    source = b"class A:\n    def put(self, x):\n        return x < 1\n\n\ny = 2\n"
    found = mutations(source, [3])
    assert {one.function for one in found} == {"A.put"}
    assert {one.line for one in found} == {3}
    assert mutations(source, [6])[0].function == ""


@pytest.mark.parametrize(
    "name", ["rewards/sandbox/plan.py", "rewards/plugins.py", "envs/swe_build/mutate.py"]
)
def test_on_real_source_every_one_parses_and_changes_one_place(name):
    source = (ROOT / name).read_bytes()
    whole = ast.dump(ast.parse(source))
    found = mutations(source)
    assert len(found) > 20
    assert len({one.source for one in found}) > 0.9 * len(found)
    for one in found:
        assert ast.dump(ast.parse(one.source)) != whole


def test_mutants_of_a_fix_touch_its_own_lines_and_are_the_same_each_time():
    old = b"def f(a, b):\n    if a < 3:\n        return b\n    return 0\n"
    new = old.replace(b"a < 3", b"a < 4")
    mutants = mutants_of({"m.py": new, "n.txt": b"1"}, {"m.py": old}, most=5)
    assert mutants == mutants_of({"m.py": new, "n.txt": b"1"}, {"m.py": old}, most=5)
    assert {mutant.what.split(" at ")[0] for mutant in mutants} == {
        "boundary",
        "negated",
        "off by one",
        "removed guard",
    }
    for mutant in mutants:
        assert mutant.gold["m.py"].splitlines()[2:] == new.splitlines()[2:]
        assert mutant.gold["n.txt"] == b"1"
