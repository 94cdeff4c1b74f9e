"""Made bugs, removed functions, what a repository needs, and which tests have to do with what."""

from __future__ import annotations

import ast
from itertools import islice
from pathlib import Path

import pytest

from munro.envs.swe_build.candidates import made
from munro.envs.swe_build.made import bugs
from munro.envs.swe_build.made.bugs import code_files, propose_bugs
from munro.envs.swe_build.made.functions import propose_functions, removals
from munro.envs.swe_build.mutate import mutations
from munro.envs.swe_build.packages.requirements import needs_of
from munro.envs.swe_build.proposal import over
from munro.envs.swe_build.related import related
from tests.envs.swe_build.histories import LENGTHS, LENGTHS_TESTS, Hand

TREE = {
    "lengths.py": LENGTHS,
    "unused.py": b"def f(a, b):\n    return a < b\n",
    "test_lengths.py": LENGTHS_TESTS,
    "setup.py": b"x = 1 + 2\n",
}


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    hand = Hand(tmp_path / "repo")
    hand.commit("Begin", TREE)
    return hand


def test_bugs_are_made_where_tests_look_and_are_the_same_each_time(hand):
    assert code_files(TREE).keys() == {"lengths.py"}
    every = list(propose_bugs(hand.repository, TREE, "lengths", seed=0))
    assert [one.id for one in every] == [
        one.id for one in propose_bugs(hand.repository, TREE, "lengths", seed=0)
    ]
    assert len({one.id for one in every}) == len(every) >= 5
    for one in every:
        assert one.planted.keys() == one.gold.keys() == {"lengths.py"}
        assert ast.dump(ast.parse(one.planted["lengths.py"])) != ast.dump(ast.parse(LENGTHS))
        assert over(TREE, one.planted, one.gold) == TREE
        assert one.tests == {"test_lengths.py": LENGTHS_TESTS}
    other = list(islice(propose_bugs(hand.repository, TREE, "lengths", seed=1), 5))
    assert [one.id for one in other] != [one.id for one in every[:5]]
    assert any(" and " in one.provenance["made"] for one in every)


def test_functions_lose_their_body_and_keep_what_says_what_they_do(hand):
    source = b'''import a


class Box:
    @property
    def put(
        self,
        x,  # of it
    ):
        """Put it in."""
        if x:
            a.b(x)
        return x

    def tiny(self):
        return 1

    def _private(self):
        x = 1
        y = 2
        return x + y
'''
    (one,) = removals(source)
    assert one.name == "Box.put"
    assert b'"""Put it in."""\n        raise NotImplementedError\n\n    def tiny' in one.source
    assert one.signature.startswith("def put(")
    assert one.docstring == "Put it in."
    every = list(propose_functions(hand.repository, TREE, "lengths", seed=0))
    assert [one.provenance["function"] for one in every] == ["longest"]
    assert "`longest` in `lengths.py`" in every[0].message
    assert removals(b"def (") == []


def test_tests_that_are_named_after_a_module_come_first():
    tree = {
        "a/words.py": b"",
        "tests/test_all.py": b"import words\n",
        "tests/test_words.py": b"# " + b"x" * 99,
        "tests/test_other.py": b"swords\n",
        "tests/words.txt": b"words",
    }
    assert related(["a/words.py"], tree, 5) == ["tests/test_words.py", "tests/test_all.py"]
    assert related(["a/words.py"], tree, 1) == ["tests/test_words.py"]
    assert related(["a/__init__.py"], {**tree, "tests/test_a.py": b""}, 5) == ["tests/test_a.py"]


PYPROJECT = b"""
[project]
name = "Words_Lib"
dependencies = ["attrs>=20 ; python_version > '3'", "old; python_version < '3'", "words-lib"]
[project.optional-dependencies]
test = ["pytest==3.0", "hypothesis[numpy]>=6 # for it", "pytest-xdist", "evil @ https://x.org/e.whl"]
dev = ["sphinx", "freezegun", "requests"]
docs = ["furo"]
[dependency-groups]
tests = ["mock", {include-group = "dev"}]
"""
SETUP_PY = b"""
from setuptools import setup
setup(name="words", install_requires=["six"], extras_require={"test": ["ddt"], "docs": ["sphinx"]})
"""


@pytest.mark.parametrize(
    ("tree", "name", "wanted"),
    [
        (
            {"pyproject.toml": PYPROJECT},
            "words-lib",
            "attrs>=20 freezegun hypothesis[numpy]>=6 mock pytest",
        ),
        ({"setup.py": SETUP_PY}, "words", "ddt pytest six"),
        (
            {"setup.cfg": b"[metadata]\nname=a\n[options]\ninstall_requires =\n  six\n  b>1\n"},
            "a",
            "b>1 pytest six",
        ),
        (
            {"tox.ini": b"[testenv]\ndeps =\n  py38: nose\n  -r x.txt\n  .[test]\n"},
            "",
            "nose pytest",
        ),
        (
            {"requirements-test.txt": b"-e .\n--index-url http://evil\n../x\nfoo==1\n# no\n"},
            "",
            "foo==1 pytest",
        ),
        (
            {"requirements-test.txt": b"py==1.5.4\npluggy==0.6.0\npytest==3.7.3"},
            "",
            "pluggy py pytest",
        ),
        ({"requirements/dev.txt": b"requests\nmock\n"}, "", "mock pytest"),
        ({"pyproject.toml": b"not [ toml", "setup.cfg": b"]", "setup.py": b"("}, "", "pytest"),
    ],
)
def test_needs_are_read_from_files_and_never_an_address(tree, name, wanted):
    needs = needs_of(tree)
    assert needs.distribution == name
    assert " ".join(needs.requirements) == wanted


def test_requirements_that_are_given_are_the_only_ones():
    needs = needs_of({"pyproject.toml": PYPROJECT}, ["numpy>=2", "words-lib", "-r more.txt"])
    assert needs.requirements == ("numpy>=2", "pytest")


def test_a_folder_of_sources_is_imported_from():
    assert needs_of({"src/a.py": b""}).python_path == ("src",)
    assert needs_of({"a.py": b""}).python_path == ()


def test_however_many_bugs_are_wanted_a_file_is_mutated_once_and_no_more_are_made(
    hand, monkeypatch
):
    asked, given = [], []

    def counted(source):
        asked.append(source)
        return mutations(source)

    monkeypatch.setattr(bugs, "mutations", counted)

    def proposed():
        for one in propose_bugs(hand.repository, TREE, "lengths", seed=0):
            given.append(one)
            yield one

    assert len(made(proposed(), 5).proposals) == 5
    assert asked == [LENGTHS]
    assert len(given) == 5
