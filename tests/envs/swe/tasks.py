"""Three small repositories, and the task that each of them makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from munro.envs.swe.folder import TaskFolder
from munro.envs.swe.run import Ran, run_tests
from munro.envs.swe.twins import choose_twins
from munro.envs.swe_build.patch import patch_of
from munro.rewards.sandbox import layer_of
from tests.envs.swe.boxes import Bench


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    """A repository, its fix, and the tests that ask for it."""

    name: str
    module: str
    """Path of the file that the fix changes."""
    base: str
    gold: str
    test: str
    """Path of the hidden test file, an older version of which the repository has."""
    old_tests: str
    tests: str
    fail: tuple[str, ...]
    passing: tuple[str, ...]
    more: Mapping[str, str]

    @property
    def files(self) -> dict[str, str]:
        return {self.module: self.base, self.test: self.old_tests, **self.more}


STONES = Small(
    name="stones",
    module="stones.py",
    base="def height(wall):\n    return len(wall)\n\n\ndef top(wall):\n    return wall[-1]\n",
    gold=(
        "def height(wall):\n    return sum(wall)\n\n\n"
        "def top(wall):\n    if not wall:\n        raise ValueError('no wall')\n"
        "    return wall[-1]\n"
    ),
    test="tests/test_stones.py",
    old_tests="from stones import top\n\ndef test_top():\n    assert top([1, 2]) == 2\n",
    tests=(
        "import pytest\nfrom stones import height, top\n\n"
        "def test_top():\n    assert top([1, 2]) == 2\n\n"
        "def test_height():\n    assert height([1, 2, 4]) == 7\n\n"
        "@pytest.mark.parametrize('wall', [[], ()])\n"
        "def test_no_wall(wall):\n    with pytest.raises(ValueError):\n        top(wall)\n"
    ),
    fail=("test_height", "test_no_wall[wall0]", "test_no_wall[wall1]"),
    passing=("test_top",),
    more={"pytest.ini": "[pytest]\naddopts = -q\n", "README.md": "# Stones\n"},
)
ROADS = Small(
    name="roads",
    module="src/roads/path.py",
    base="def join(*parts):\n    return '/'.join(parts)\n",
    gold="def join(*parts):\n    return '/'.join(part.strip('/') for part in parts)\n",
    test="tests/unit/test_path.py",
    old_tests=(
        "import unittest\nfrom roads.path import join\n\n"
        "class TestJoin(unittest.TestCase):\n"
        "    def test_two(self):\n        self.assertEqual(join('a', 'b'), 'a/b')\n"
    ),
    tests=(
        "import unittest\nfrom roads.path import join\n\n"
        "class TestJoin(unittest.TestCase):\n"
        "    def test_two(self):\n        self.assertEqual(join('a', 'b'), 'a/b')\n"
        "    def test_slashes(self):\n        self.assertEqual(join('/a/', 'b/'), 'a/b')\n"
        "    def test_few(self):\n        self.assertIn('c', join('a', '/c'))\n"
        "        self.assertEqual(join('/'), '')\n"
    ),
    fail=("TestJoin::test_slashes", "TestJoin::test_few"),
    passing=("TestJoin::test_two",),
    more={
        "src/roads/__init__.py": "",
        "tests/__init__.py": "",
        "tests/unit/__init__.py": "",
        "setup.cfg": "[tool:pytest]\naddopts = -q\n",
    },
)
TIDES = Small(
    name="tides",
    module="tides/table.py",
    base="class Table:\n    def __init__(self, rows):\n        self.rows = rows\n\n"
    "    def highest(self):\n        return self.rows[0]\n",
    gold="class Table:\n    def __init__(self, rows):\n        self.rows = rows\n\n"
    "    def highest(self):\n        return max(self.rows)\n",
    test="tests/test_table.py",
    old_tests="from tides.table import Table\n\ndef test_rows(table):\n    assert table.rows\n",
    tests=(
        "from tides.table import Table\n\ndef test_rows(table):\n    assert table.rows\n\n"
        "def test_highest(table):\n    assert table.highest() == 9\n\n"
        "def test_last():\n    high = Table([1, 2]).highest()\n    assert high > 1\n"
    ),
    fail=("test_highest", "test_last"),
    passing=("test_rows",),
    more={
        "tides/__init__.py": "",
        "tests/conftest.py": (
            "import pytest\nfrom tides.table import Table\n\n"
            "@pytest.fixture\ndef table():\n    return Table([3, 9, 4])\n"
        ),
        "pyproject.toml": (
            "[project]\nname = 'tides'\n\n[tool.pytest.ini_options]\naddopts = '-q'\n"
        ),
    },
)
SMALL = (STONES, ROADS, TIDES)


def task_of(small: Small, swe: Bench) -> TaskFolder:
    """The task, with twins chosen as a build chooses them; made once for each bench."""
    if small.name not in swe.made:
        swe.made[small.name] = _made(small, swe)
    return swe.made[small.name]


def _made(small: Small, swe: Bench) -> TaskFolder:
    fail = tuple(f"{small.test}::{name}" for name in small.fail)

    def runs(code: str):
        def run(files, paths, only=()) -> Ran:
            whole = {**small.files, small.module: code, small.test: small.tests, **files}
            with swe.session(whole) as session:
                return run_tests(session, paths, only=only, test_s=10, wall_s=60)

        return run

    wanted = [*fail, *(f"{small.test}::{name}" for name in small.passing)]
    on_gold = runs(small.gold)
    twins = choose_twins({small.test: small.tests}, fail, on_gold=on_gold, wanted=wanted)
    return TaskFolder(
        id=f"{small.name}-1",
        statement=f"Mend {small.module}.",
        layers=(layer_of(small.files, swe.store).digest,),
        packages=(swe.pytest.digest,),
        tests={small.test: small.tests.encode()},
        fail_to_pass=fail,
        pass_to_pass=tuple(f"{small.test}::{name}" for name in small.passing),
        twins=twins,
        patch=patch_of({small.module: small.base.encode()}, {small.module: small.gold.encode()}),
        test_s=2,
        wall_s=60,
        provenance={"repository": small.name},
    )
