"""The history in a box: the same bytes each time, nothing of the future, and wrong scrubs found."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from munro.envs.swe_build.errors import BadRepository, Dropped
from munro.envs.swe_build.git import Repository, walk
from munro.envs.swe_build.history import (
    allowed_commits,
    leftovers,
    write_history,
    write_planted_history,
    write_tree,
)
from tests.envs.swe_build.histories import LENGTHS, LENGTHS_TESTS, Hand, first_of_equals


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    hand = first_of_equals(tmp_path / "repo")
    hand.git("tag", "-a", "v1", "-m", "one", "HEAD")
    return hand


def base(hand: Hand) -> str:
    return hand.git("rev-parse", "HEAD^1")


def box(hand: Hand, folder: Path, history: str) -> Path:
    folder.mkdir()
    write_tree(hand.repository, base(hand), folder)
    write_history(hand.repository, base(hand), folder, history)
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in walk(folder)}


def status(folder: Path) -> str:
    """As one who works there sees it."""
    command = ["git", "-C", str(folder), "status", "--porcelain"]
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # or it would write times into the index
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout


def proof(hand: Hand, folder: Path, history: str) -> list[str]:
    allowed = allowed_commits(hand.repository, base(hand), folder, history)
    return leftovers(folder, allowed)


@pytest.mark.parametrize("history", ["none", "past"])
def test_a_box_holds_the_base_and_nothing_later(hand, tmp_path, history):
    folder = box(hand, tmp_path / "box", history)
    assert (folder / "lengths.py").read_bytes() == LENGTHS
    there = Repository(folder)
    assert status(folder) == ""
    assert len(there.commits("HEAD")) == (1 if history == "none" else 2)
    assert proof(hand, folder, history) == []
    for gone in ("HEAD", "HEAD:lengths.py", "HEAD^2"):
        with pytest.raises(BadRepository):
            there.run("cat-file", "-e", hand.git("rev-parse", gone))


@pytest.mark.parametrize("history", ["none", "past"])
def test_it_is_the_same_bytes_each_time_however_the_source_is_packed(hand, tmp_path, history):
    first = bytes_of(box(hand, tmp_path / "one", history))
    hand.git("gc", "-q", "--aggressive", "--prune=now")
    assert bytes_of(box(hand, tmp_path / "two", history)) == first


def test_a_tree_that_no_repository_has_becomes_one_commit(tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / "c.py").write_bytes(b"x = 1\n")
        (folder / "run.sh").write_bytes(b"true\n")
        (folder / "run.sh").chmod(0o755)
        (folder / "link").symlink_to("a/b")
        write_planted_history(folder, 1_700_000_000)
        assert status(folder) == ""
        assert leftovers(folder, frozenset({Repository(folder).resolve("HEAD")})) == []
    assert bytes_of(tmp_path / "one" / ".git") == bytes_of(tmp_path / "two" / ".git")


def test_no_attribute_of_a_repository_changes_what_is_written(tmp_path):
    hand = Hand(tmp_path / "repo")
    files = {
        ".gitattributes": b"secret.py export-ignore\n*.py text eol=crlf export-subst\n",
        "secret.py": b"# $Format:%H$\n",
        "odd\nname.txt": b"1",
    }
    hand.commit("Begin", files)
    folder = tmp_path / "box"
    folder.mkdir()
    assert write_tree(hand.repository, "HEAD", folder) == files
    assert (folder / "odd\nname.txt").read_bytes() == b"1"


def test_links_stay_in_the_tree_or_the_task_is_refused(tmp_path):
    hand = Hand(tmp_path / "repo")
    hand.commit("Begin", {"a/b.py": b""})
    (hand.folder / "a" / "up").symlink_to("../a/b.py")
    hand.commit("Inside")
    (tmp_path / "one").mkdir()
    write_tree(hand.repository, "HEAD", tmp_path / "one")
    assert (tmp_path / "one" / "a" / "up").is_symlink()
    (hand.folder / "a" / "out").symlink_to("../../elsewhere")
    hand.commit("Outside")
    (tmp_path / "two").mkdir()
    with pytest.raises(Dropped, match="leads out of the tree"):
        write_tree(hand.repository, "HEAD", tmp_path / "two")


def test_the_past_of_a_shallow_clone_is_told_in_one_line(hand, tmp_path):
    clone = tmp_path / "clone"
    command = ["git", "clone", "-q", "--depth", "2", f"file://{hand.folder}", str(clone)]
    subprocess.run(command, check=True)
    (tmp_path / "box").mkdir()
    repository = Repository(clone)
    with pytest.raises(BadRepository, match="--unshallow, or --history none"):
        write_history(repository, "HEAD^1", tmp_path / "box", "past")


def clone(hand: Hand, folder: Path, *options: str) -> Hand:
    command = ["git", "clone", "-q", *options, f"file://{hand.folder}", str(folder)]
    subprocess.run(command, check=True)
    made = Hand.__new__(Hand)
    made.folder, made._seconds = folder, hand._seconds
    return made


def by_deleting_the_remote(hand: Hand, folder: Path) -> None:
    """SWE-rebench-V2's way: clone all, go back, forget the remote."""
    made = clone(hand, folder)
    made.git("reset", "-q", "--hard", base(hand))
    made.git("remote", "remove", "origin")


def by_dates(hand: Hand, folder: Path) -> None:
    """SWE-bench's way: tags younger than the base go; what says that it is older stays."""
    hand._seconds -= 10**7
    start = base(hand)
    hand.git("tag", "v0.9", hand.commit("Dated back", {"more.py": b"x = 1\n"}))
    made = clone(hand, folder, "--single-branch", "-b", "main")
    made.git("reset", "-q", "--hard", start)
    made.git("remote", "remove", "origin")
    when = int(made.git("show", "-s", "--format=%ct", start))
    for tag in made.git("tag").split():
        if int(made.git("log", "-1", "--format=%ct", tag)) > when:
            made.git("tag", "-d", tag)
    made.git("reflog", "expire", "--expire=now", "--all")
    made.git("gc", "-q", "--prune=now")
    (folder / ".git" / "config").write_text("")


def by_depth(hand: Hand, folder: Path) -> None:
    """A shallow clone of the base's branch, with the tags of the whole repository."""
    hand.git("branch", "base", base(hand))
    made = clone(hand, folder, "--depth", "1", "-b", "base")
    made.git("fetch", "-q", "--depth", "1", "--tags")


@pytest.mark.parametrize("scrub", [by_deleting_the_remote, by_dates, by_depth])
def test_wrong_scrubs_are_found(hand, tmp_path, scrub):
    allowed = frozenset(hand.repository.text("rev-list", base(hand)).split())
    scrub(hand, tmp_path / "box")
    found = leftovers(tmp_path / "box", allowed)
    assert any("commits that the base does not lead to" in line for line in found), found


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("logs/HEAD", "a file in .git that none needs: logs/HEAD"),
        ("FETCH_HEAD", "none needs: FETCH_HEAD"),
        ("ORIG_HEAD", "none needs: ORIG_HEAD"),
        ("packed-refs", "none needs: packed-refs"),
        ("hooks/pre-commit", "none needs: hooks/pre-commit"),
        ("objects/info/alternates", "none needs: objects/info/alternates"),
        ("modules/a/HEAD", "none needs: modules/a/HEAD"),
        ("refs/notes/commits", "refs beside one branch"),
        ("refs/replace/" + "0" * 40, "refs beside one branch"),
        ("refs/stash", "refs beside one branch"),
        ("config", "settings in .git/config"),
    ],
)
def test_every_other_place_that_git_keeps_things_in_is_found(hand, tmp_path, name, why):
    folder = box(hand, tmp_path / "box", "none")
    place = folder / ".git" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    head = Repository(folder).resolve("HEAD")
    old = place.read_text() if name == "config" else ""
    extra = {"config": '[remote "origin"]\n\turl = https://example.org/x', "packed-refs": ""}
    place.write_text(old + extra.get(name, head))
    assert any(why in line for line in proof(hand, folder, "none"))


def test_an_object_without_a_ref_is_found(hand, tmp_path):
    folder = box(hand, tmp_path / "box", "none")
    fixed = (hand.folder / "lengths.py").read_bytes()
    Repository(folder).text("hash-object", "-w", "--stdin", stdin=fixed)
    found = proof(hand, folder, "none")
    assert found == ["1 files or folders of no commit that the base leads to"]
    shutil.rmtree(folder / ".git")
    assert leftovers(folder, frozenset()) == ["no .git folder of its own"]


def test_the_tests_file_of_the_base_is_the_old_one(hand, tmp_path):
    assert (box(hand, tmp_path / "box", "past") / "test_lengths.py").read_bytes() == LENGTHS_TESTS
