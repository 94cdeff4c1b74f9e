"""A task's folder: the same bytes, read back whole, and nothing in it changed by hand unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from munro.envs.swe.expected import Edit
from munro.envs.swe.folder import BadTask, TaskFolder, is_ours, read_folder, write_folder
from munro.envs.swe.patch import BadPatch, applied
from munro.envs.swe.twins import TwinFile

TASK = TaskFolder(
    id="stones-1",
    statement="Mend the wall.\n",
    layers=("a" * 64,),
    packages=("b" * 64,),
    requirements=("pytest==9.2.0",),
    tests={"tests/test_a.py": b"def test_b(): assert 1\n", "tests/data/x.bin": b"\x00\xff"},
    removed=("tests/test_old.py",),
    fail_to_pass=("tests/test_a.py::test_b",),
    pass_to_pass=("tests/test_a.py::test_c[\u00e4-1]",),
    twins=(
        TwinFile(
            of="tests/test_a.py",
            edits=(("tests/test_a.py::test_b", Edit(21, 22, b"0")),),
            must_fail=("tests/test_a.py::test_b",),
            must_pass=("tests/test_a.py::test_b",),
        ),
    ),
    patch="diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n",
    test_s=3.5,
    provenance={"repository": "stones", "fix": "c" * 40},
)


def listing(path: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(file.relative_to(path)): (file.stat().st_mode, file.read_bytes())
        for file in path.rglob("*")
        if file.is_file()
    }


def test_what_is_written_is_read_and_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "stones-1", tmp_path / "other" / "stones-1"
    second.parent.mkdir()
    write_folder(TASK, first)
    assert is_ours(first)
    assert read_folder(first) == TASK
    write_folder(read_folder(first), second)
    assert listing(first) == listing(second)
    (first / "left").write_text("of an older one")
    write_folder(TASK, first)
    assert listing(first) == listing(second)
    assert read_folder(first).digest() == TASK.digest()


@pytest.mark.parametrize(
    "name",
    [
        "tests/files/tests/test_a.py",
        "tests/fail_to_pass.json",
        "tests/twins.json",
        "solution/patch.diff",
    ],
)
@pytest.mark.parametrize("how", ["changed", "missing", "added"])
def test_what_was_edited_by_hand_is_one_line(tmp_path: Path, name: str, how: str) -> None:
    folder = tmp_path / "stones-1"
    write_folder(TASK, folder)
    match how:
        case "changed":
            (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
        case "missing":
            (folder / name).unlink()
        case "added":
            name += ".new"
            (folder / name).write_text("")
    with pytest.raises(BadTask) as told:
        read_folder(folder)
    assert f"{name} was {how}" in str(told.value) or f"{name} is {how}" in str(told.value)
    assert "\n" not in str(told.value)


def test_what_is_no_task_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadTask, match=r"there is no task\.toml in it"):
        read_folder(tmp_path)
    (tmp_path / "task.toml").write_text('schema_version = "1.4"\n')
    assert not is_ours(tmp_path)
    with pytest.raises(BadTask, match=r"without \[metadata.munro\]"):
        read_folder(tmp_path)
    (tmp_path / "task.toml").write_text('[metadata.munro]\nkind = "swe"\n')
    with pytest.raises(BadTask, match="holds no whole task: KeyError"):
        read_folder(tmp_path)


@pytest.mark.parametrize("path", ["../x.py", "/etc/x", "a\nb"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, path: str) -> None:
    from dataclasses import replace

    with pytest.raises(BadTask, match="is not below the repository"):
        write_folder(replace(TASK, tests={path: b""}), tmp_path / "x")


def test_a_patch_that_does_not_fit_is_one_line() -> None:
    assert applied(TASK.patch, lambda path: b"a\nz") == {"x": b"b\nz"}
    with pytest.raises(BadPatch, match="does not fit x, line 1"):
        applied(TASK.patch, lambda path: b"c\n")
    with pytest.raises(BadPatch, match="changes x, which is not there"):
        applied(TASK.patch, lambda path: None)
    made = "diff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+a\n"
    gone = (
        "diff --git a/x b/x\ndeleted file mode 100644\n--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"
    )
    moved = "diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n"
    whole = applied(made + gone, lambda path: b"a\n" if path == "x" else None)
    assert whole == {"n": b"a\n", "x": None}
    assert applied(moved, lambda path: b"a\n") == {"x": None, "y": b"a\n"}
    for bad, why in (
        ("--- a/x\n+++ b/x\n", "not in git's form"),
        ("diff --git a/x b/x\nGIT binary patch\n", "a binary file"),
        ("diff --git a/x b/x\nnew file mode 120000\n", "a link"),
    ):
        with pytest.raises(BadPatch, match=why):
            applied(bad, lambda path: b"")
