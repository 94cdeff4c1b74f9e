"""Candidates of a history: what is one, what is none and why, and folders that hold none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from munro.envs.swe_build.errors import BadRepository, Dropped
from munro.envs.swe_build.git import Repository
from munro.envs.swe_build.mine import Rules, propose, sources
from tests.envs.swe_build.histories import (
    LENGTHS,
    LENGTHS_TESTS,
    Hand,
    first_of_equals,
    fixed,
)

FIX = {"lengths.py": fixed(LENGTHS, b"len(word) > ", b"len(word) >= ")}
TEST = {"test_lengths.py": LENGTHS_TESTS + b"\n\ndef test_more():\n    assert total([]) == 0\n"}


def reason(hand: Hand) -> str:
    """Why the newest commit is no candidate."""
    repository = hand.repository
    with pytest.raises(Dropped) as dropped:
        propose(repository, next(sources(repository)), Rules(), "lengths")
    return dropped.value.reason


@pytest.fixture
def begun(tmp_path: Path) -> Hand:
    hand = Hand(tmp_path / "repo")
    hand.commit("Begin", {"lengths.py": LENGTHS, "test_lengths.py": LENGTHS_TESTS})
    return hand


def test_a_merge_is_taken_against_its_first_parent(tmp_path):
    hand = first_of_equals(tmp_path / "repo")
    found = list(sources(hand.repository))
    assert [source.kind for source in found] == ["merge", "squash"]
    one = propose(hand.repository, found[0], Rules(), "lengths")
    assert one.rev == hand.git("rev-parse", "HEAD^1")
    assert one.gold.keys() == {"lengths.py"}
    assert b"test_ties" in one.tests["test_lengths.py"]
    assert one.provenance["number"] == "4"
    assert "Of words that are equally long" in one.message
    assert one.id == f"lengths-{hand.git('rev-parse', 'HEAD')[:10]}"


def test_a_pull_request_that_nobody_merged_is_taken_from_its_ref(tmp_path):
    hand = first_of_equals(tmp_path / "repo")
    hand.git("checkout", "-q", "-b", "other", "HEAD^1")
    tip = hand.commit("Empty words", {**FIX, **TEST})
    hand.git("update-ref", "refs/pull/17/head", tip)
    hand.git("checkout", "-q", "main")
    hand.git("branch", "-D", "other")
    found = [source for source in sources(hand.repository) if source.kind == "pull request"]
    assert [source.number for source in found] == ["17"]
    assert found[0].base == hand.git("rev-parse", "HEAD^1")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (FIX, "no test changed"),
        (TEST, "no code changed"),
        ({**TEST, "docs/conf.py": b"x = 1\n"}, "no code changed"),
        ({**FIX, "tests/data.json": b"{}"}, "no test file is left that pytest collects"),
        ({**FIX, **TEST, "tests/picture.png": b"\x89PNG\0\0"}, "changes a binary file"),
        ({**FIX, **TEST, "tests/latin.py": b"x = '\xe9'\n"}, "changes a binary file"),
        ({**FIX, **TEST, "odd\nname.py": b"x = 1\n"}, "a path with a line end"),
        ({**FIX, **TEST, "tests/big.txt": b"x" * (2 << 20)}, "a file over 1024 KiB"),
        ({**TEST, "lib/_vendor/six.py": b"x = 1\n"}, "only generated or vendored"),
        ({**TEST, "made.py": b"# DO NOT EDIT\n"}, "only generated or vendored"),
        ({**FIX, **TEST, "more.py": b"x = 1\n" * 2000}, "more than 1500 new lines"),
        ({**FIX, **TEST, **{f"d{i}.md": b"x" for i in range(14)}}, "more than 15 files"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_candidate_says_why(begun, files, why):
    begun.commit("Change", files)
    assert reason(begun).startswith(why)


def test_links_and_submodules_are_no_candidates(begun):
    begun.write({**FIX, **TEST})
    (begun.folder / "link.py").symlink_to("lengths.py")
    begun.commit("Link")
    assert reason(begun) == "changes a symbolic link"
    oid = begun.git("rev-parse", "HEAD")
    begun.write({"lengths.py": LENGTHS, "test_lengths.py": LENGTHS_TESTS})
    begun.git("add", "-A")
    begun.git("update-index", "--add", "--cacheinfo", f"160000,{oid},module")
    begun.git("commit", "-q", "-m", "Module")
    assert reason(begun) == "changes a submodule"


def test_a_change_of_mode_alone_is_no_change(begun):
    (begun.folder / "lengths.py").chmod(0o755)
    begun.commit("Mode", TEST)
    assert reason(begun) == "no code changed"


def test_generated_files_are_no_part_of_a_fix(begun):
    begun.commit("Fix", {**FIX, **TEST, "lib/_version.py": b"version = 2\n"})
    repository = begun.repository
    assert propose(repository, next(sources(repository)), Rules(), "a").gold.keys() == FIX.keys()


def test_code_must_be_where_it_is_asked_for(begun):
    begun.commit("Fix", {**FIX, **TEST, "lib/more.py": b"x = 1\n"})
    repository = begun.repository
    with pytest.raises(Dropped, match="outside of --only"):
        propose(repository, next(sources(repository)), Rules(only=("lib/",)), "a")


def test_a_revert_is_no_candidate(begun):
    begun.commit('Revert "Ties"', {**FIX, **TEST})
    assert reason(begun) == "reverts an earlier change"


def test_a_deleted_file_is_part_of_the_fix(begun):
    begun.commit("Add", {"old.py": b"x = 1\n"})
    begun.commit("Remove", {**TEST, "old.py": None})
    repository = begun.repository
    assert propose(repository, next(sources(repository)), Rules(), "a").gold == {"old.py": None}


def test_folders_that_hold_no_history_are_told_in_one_line(tmp_path):
    with pytest.raises(BadRepository, match="there is no such folder"):
        Repository(tmp_path / "nowhere")
    with pytest.raises(BadRepository, match="is no git repository"):
        Repository(tmp_path)
    hand = Hand(tmp_path / "new")
    with pytest.raises(BadRepository, match="has no commit yet"):
        list(sources(hand.repository))
    hand.commit("Begin", {"a.py": b""})
    with pytest.raises(BadRepository, match="a history of one commit"):
        list(sources(hand.repository))
    with pytest.raises(BadRepository, match="no commit since 2040"):
        list(sources(hand.repository, since="2040-01-01"))
    with pytest.raises(BadRepository, match="no commit until 2001"):
        list(sources(hand.repository, until="2001-01-01"))
    inner = tmp_path / "new" / "inside"
    inner.mkdir()
    with pytest.raises(BadRepository, match="is no git repository"):
        Repository(inner)


def test_nothing_that_a_repository_names_is_run(tmp_path):
    hand = first_of_equals(tmp_path / "repo")
    trace = tmp_path / "ran"
    script = tmp_path / "hostile.sh"
    script.write_text(f"#!/bin/sh\ntouch {trace}\n")
    script.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "gpg.program", "core.pager", "core.sshCommand"):
        hand.git("config", key, str(script))
    hand.git("config", "diff.x.textconv", str(script))
    hand.git("config", "filter.x.smudge", str(script))
    hand.git("config", "log.showSignature", "true")
    (hand.folder / ".git" / "info" / "attributes").write_text("* diff=x filter=x\n")
    hook = hand.folder / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(script.read_text())
    hook.chmod(0o755)
    repository = hand.repository
    for source in sources(repository):
        try:
            propose(repository, source, Rules(), "a")
        except Dropped:
            continue
    assert not trace.exists()
    # the settings bite: plain git starts them
    plain = ["git", "-C", str(hand.folder), "diff", "HEAD^1", "HEAD"]
    subprocess.run(plain, capture_output=True, env={"PATH": os.environ["PATH"]}, check=False)
    assert trace.exists()


def test_changes_of_a_span_of_time_alone(tmp_path):
    hand = Hand(tmp_path / "repo")
    for number in range(4):
        hand.commit(f"Change {number}", {"a.py": b"x = %d\n" % number})
    every = list(sources(hand.repository))
    assert len(every) == 3
    seconds = every[1].fix.seconds
    assert [one.fix for one in sources(hand.repository, until=f"@{seconds}")] == [
        one.fix for one in every[1:]
    ]
    assert [one.fix for one in sources(hand.repository, since=f"@{seconds}")] == [
        one.fix for one in every[:2]
    ]


@pytest.mark.parametrize("word", ["since", "until"])
def test_what_is_no_date_is_told_and_not_taken_for_now(tmp_path, word):
    hand = first_of_equals(tmp_path / "repo")
    with pytest.raises(BadRepository, match=f"--{word} whenever: git reads no date in that"):
        next(sources(hand.repository, **{word: "whenever"}))
    next(sources(hand.repository, until="now"))
