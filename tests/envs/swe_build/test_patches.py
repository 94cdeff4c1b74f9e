"""Patches that `git apply` takes, sides of paths, and fixes without one of their hunks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from munro.envs.swe_build.mutants import partial_fixes
from munro.envs.swe_build.patch import added_lines, grouped, patch_of, without_hunk
from munro.envs.swe_build.split import Side, packages_in, side

LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\r\n", b"\n", b"d"]), max_size=12)
FILES = st.dictionaries(
    st.sampled_from(["a.py", "b/c.py", "with space.txt"]),
    LINES.map(b"".join),
    max_size=3,
)


def applied(folder: Path, old: dict[str, bytes], patch: str) -> dict[str, bytes]:
    for name, contents in old.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents)
    if patch:
        command = ["git", "apply", "--whitespace=nowarn", "-"]
        done = subprocess.run(command, input=patch.encode(), cwd=folder, capture_output=True)
        assert done.returncode == 0, done.stderr.decode() + patch
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@settings(max_examples=60, deadline=None)
@given(old=FILES, new=FILES)
def test_git_makes_the_new_files_of_the_old_ones_with_our_patch(tmp_path_factory, old, new):
    changes = {**dict.fromkeys(old), **new}
    folder = tmp_path_factory.mktemp("tree")
    assert applied(folder, old, patch_of(old, changes)) == new


def test_each_hunk_can_be_left_out():
    old = b"".join(b"line %d\n" % i for i in range(40))
    new = old.replace(b"line 3\n", b"three\n").replace(b"line 30\n", b"thirty\n")
    assert len(list(grouped(old, new))) == 2
    assert without_hunk(old, new, 0) == old.replace(b"line 30\n", b"thirty\n")
    assert without_hunk(old, new, 1) == old.replace(b"line 3\n", b"three\n")
    assert added_lines(old, new) == [4, 31]
    parts = partial_fixes({"a.py": new, "b.py": b"new\n"}, {"a.py": old}, most=9)
    assert [part.what for part in parts] == [
        "without hunk 1 of a.py",
        "without hunk 2 of a.py",
        "without b.py",
    ]
    assert parts[2].gold == {"a.py": new, "b.py": None}
    assert partial_fixes({"b.py": b"new\n"}, {}, most=9) == []


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("boltons/strutils.py", Side.CODE),
        ("src/pkg/types.pyi", Side.CODE),
        ("pkg/data/table.json", Side.CODE),
        ("pkg/README.md", Side.OTHER),
        ("table.json", Side.OTHER),
        ("tests/test_a.py", Side.TESTS),
        ("tests/data/a.json", Side.TESTS),
        ("pkg/tests/helpers.py", Side.TESTS),
        ("pkg/test_a.py", Side.TESTS),
        ("conftest.py", Side.TESTS),
        ("pkg/contest.py", Side.CODE),
        ("setup.py", Side.OTHER),
        ("docs/conf.py", Side.OTHER),
        ("CHANGELOG.md", Side.OTHER),
        (".github/run.py", Side.OTHER),
    ],
)
def test_sides(path, where):
    assert side(path, ["pkg"]) is where


def test_packages_are_the_outermost_folders_of_code():
    paths = ["src/a/__init__.py", "src/a/b/__init__.py", "tests/__init__.py", "c/d.py"]
    assert packages_in(paths) == ("src/a",)
