"""Small git repositories that tests make by themselves, commit by commit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from munro.envs.swe_build.git import Repository

FIRST = 1_700_000_000
LENGTHS = b'''"""Lengths."""


def longest(words):
    best = ""
    for word in words:
        if len(word) > len(best):
            best = word
    return best


def total(words):
    return sum(len(word) for word in words)
'''
LENGTHS_TESTS = b"""from lengths import longest, total


def test_longest():
    assert longest(["a", "abc", "ab"]) == "abc"


def test_total():
    assert total(["a", "abc"]) == 4
"""


class Hand:
    """Writes commits into a repository, each an hour after the one before."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._seconds = FIRST
        self.git("init", "-q", "-b", "main")

    def git(self, *words: str) -> str:
        when = f"@{self._seconds} +0000"
        env = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.invalid",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.invalid",
            "GIT_AUTHOR_DATE": when,
            "GIT_COMMITTER_DATE": when,
        }
        done = subprocess.run(
            ["git", "-C", str(self.folder), *words], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, files: Mapping[str, bytes | None]) -> None:
        for name, contents in files.items():
            path = self.folder / name
            if contents is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(contents)

    def commit(self, message: str, files: Mapping[str, bytes | None] = {}) -> str:
        self._seconds += 3600
        self.write(files)
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def branch(self, name: str) -> None:
        self.git("checkout", "-q", "-b", name)

    def merge(self, name: str, message: str) -> str:
        self._seconds += 3600
        self.git("checkout", "-q", "main")
        self.git("merge", "-q", "--no-ff", name, "-m", message)
        return self.git("rev-parse", "HEAD")

    @property
    def repository(self) -> Repository:
        return Repository(self.folder)


def fixed(contents: bytes, old: bytes, new: bytes) -> bytes:
    assert old in contents
    return contents.replace(old, new)


def first_of_equals(folder: Path) -> Hand:
    """A history with one merged fix of `lengths.py`, and squashes around it."""
    hand = Hand(folder)
    hand.commit("Begin", {"lengths.py": LENGTHS, "test_lengths.py": LENGTHS_TESTS})
    hand.commit("Say what this is", {"README.md": b"Lengths of words.\n"})
    hand.branch("ties")
    hand.commit(
        "Of words that are equally long, longest() gives the last (#3)",
        {"lengths.py": fixed(LENGTHS, b"len(word) > len(best)", b"len(word) >= len(best)")},
    )
    hand.commit(
        "Test ties",
        {
            "test_lengths.py": LENGTHS_TESTS
            + b'\n\ndef test_ties():\n    assert longest(["ab", "cd"]) == "cd"\n'
        },
    )
    hand.merge("ties", "Merge pull request #4 from ada/ties\n\nLast of equals")
    hand.git("branch", "-D", "ties")
    return hand
