"""What of an agent's changes comes to the grader's box, and what is put back as it was.

The agent's tree is read as data (`session.changes`); nothing in it is run, followed or believed.
Kept are plain files of the repository. Not kept, each with a name for the reason:

    tests       hidden test files, and whatever lies in their folders under a name of a test's
    settings    of pytest and of the interpreter: conftest.py, pytest.ini, *.pth, sitecustomize ...
    history     .git: no hook or setting of it is ever heard
    odd         links that lead out, devices, FIFOs, sockets, files too large or too many

Where the solution itself changes a file of settings that holds other things too (setup.cfg,
pyproject.toml, tox.ini), the agent's version is kept with its test tables taken from the original.
"""

from __future__ import annotations

import configparser
import io
import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import tomli_w

from munro.rewards.sandbox import Change

MOST_BYTES, MOST_FILE, MOST_FILES = 64 << 20, 8 << 20, 5_000
"""Of an agent's changes all together, of one file, and how many files."""
SETTINGS = frozenset(
    (
        "conftest.py",
        "pytest.ini",
        ".pytest.ini",
        "pytest.toml",
        ".pytest.toml",
        "tox.ini",
        "setup.cfg",
        ".coveragerc",
        "sitecustomize.py",
        "usercustomize.py",
        "pytest.py",
        "_pytest.py",
        "pluggy.py",
    )
)
TABLES = {
    "setup.cfg": ("tool:pytest", "pytest"),
    "tox.ini": ("pytest", "tool:pytest"),
    "pyproject.toml": ("pytest",),
}
"""Files that hold settings of pytest beside others, and which of their tables those are."""
PACKAGES = ("pytest", "_pytest", "pluggy", "sitecustomize", "usercustomize")
"""Folders that Python would import in the place of what judges."""
TEST_NAME = re.compile(r"(test_.*|.*_test|tests?|conftest)\.(py|pyc|so|pyd)|.*\.(pth|egg-link)")
TEST_FOLDERS = frozenset(("test", "tests", "testing", "unittests"))
CACHE = re.compile(r".*\.py[co]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An agent's changes as the grader's box gets them."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    """Of `files`, where one may be executed."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Links that stay in the repository, by path; their targets."""
    deleted: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    """What was not kept, by path: why."""
    signs: tuple[str, ...] = ()
    """Refusals that only somebody who looks for the grader needs, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What is protected in one task."""

    tests: frozenset[str]
    """Hidden test files, and those of the repository that they replace or remove."""
    gold: frozenset[str]
    """Files that the solution changes."""
    original: Callable[[str], bytes | None]
    """What the repository has at a path."""
    files: frozenset[str]
    """All files that the repository has."""

    def keep(self, changes: Sequence[Change]) -> Kept:
        """Sort an agent's changes."""
        files: dict[str, bytes] = {}
        modes: dict[str, int] = {}
        links: dict[str, str] = {}
        deleted: list[str] = []
        refused: dict[str, str] = {}
        room = MOST_BYTES
        for change in changes:
            path, kind = change.path, str(change.kind)
            if kind == "folder" and not change.hides_below:
                continue
            if kind in ("folder", "deleted"):
                self._delete(path, deleted, refused)
                continue
            why = self.why_not(path)
            if why is None and any(self.why_not(file) for file in self._below(path)):
                why = "tests"  # a file or a link where the repository has a folder of tests
            if why is None and (mended := self._mended(path, change)) is not None:
                files[path] = mended
            elif why is not None:
                refused[path] = why
            elif kind == "link":
                if stays(path, change.target) and not self._leads_to_protected(path, change.target):
                    links[path] = change.target
                else:
                    refused[path] = f"a link to {change.target[:60]!r}"
            elif kind != "file":
                refused[path] = "a FIFO, a socket or a device"
            elif change.contents is None or len(change.contents) > MOST_FILE:
                refused[path] = f"a file of {change.size} bytes"
            elif len(files) >= MOST_FILES or len(change.contents) > room:
                refused[path] = "too many changes"
            else:
                room -= len(change.contents)
                files[path] = change.contents
                if change.mode & 0o100:
                    modes[path] = 0o755
        return Kept(
            files=files,
            modes=modes,
            links=links,
            deleted=tuple(deleted),
            refused=refused,
            signs=_signs(refused),
        )

    def _below(self, path: str) -> list[str]:
        return [file for file in self.files if file == path or file.startswith(f"{path}/")]

    def _delete(self, path: str, deleted: list[str], refused: dict[str, str]) -> None:
        """Take away what the repository has there, but for what is protected."""
        for file in sorted(self._below(path)):
            if (why := self.why_not(file)) is None:
                deleted.append(file)
            else:
                refused[file] = why

    def why_not(self, path: str) -> str | None:
        """Why a path is not the agent's to change; None where it is."""
        parts = PurePosixPath(path).parts
        if not parts or not path.isprintable() or "\ufffd" in path:
            return "a name that is no plain text"
        if any("\ud800" <= mark <= "\udfff" for mark in path):
            return "a name that is no plain text"
        if ".git" in parts:
            return "history"
        if path in self.tests:
            return "tests"
        if path in self.gold:
            return None
        if parts[-1] in SETTINGS or any(part in PACKAGES for part in parts[:2]):
            return "settings"
        if parts[-1] == "pyproject.toml":
            return "settings"
        if parts[-1].endswith((".pth", ".egg-link")) or CACHE.fullmatch(parts[-1]):
            return "settings"
        if any(part.endswith((".dist-info", ".egg-info")) for part in parts):
            return "settings"
        return "tests" if self._is_of_tests(path) else None

    def _is_of_tests(self, path: str) -> bool:
        """In a folder of tests that the hidden ones are in, or named like a test beside them."""
        above = {str(folder) for folder in PurePosixPath(path).parents} - {"."}
        for test in self.tests:
            folder = PurePosixPath(test).parent
            if str(folder) in above and set(folder.parts) & TEST_FOLDERS:
                return True
            beside = PurePosixPath(path).parent == folder
            if beside and TEST_NAME.fullmatch(PurePosixPath(path).name):
                return True
        return False

    def _mended(self, path: str, change: Change) -> bytes | None:
        """A file of settings that the solution changes too, with the original's test tables."""
        name = PurePosixPath(path).name
        if path not in self.gold or name not in TABLES or change.contents is None:
            return None
        return with_tables_of(name, change.contents, self.original(path) or b"")

    def _leads_to_protected(self, path: str, target: str) -> bool:
        place = normal(str(PurePosixPath(path).parent / target))
        return self.why_not(place) is not None or any(
            test.startswith(f"{place}/") for test in self.tests
        )


def normal(path: str) -> str:
    """A path without `.` and `..`, as far as it stays below the top."""
    parts: list[str] = []
    for part in PurePosixPath(path).parts:
        if part == "..":
            if not parts:
                return ".."
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def stays(path: str, target: str) -> bool:
    """Whether a link at `path` leads to something in the repository."""
    if target.startswith("/") or "\0" in target or not target.isprintable():
        return False
    return normal(str(PurePosixPath(path).parent / target)) not in ("", "..")


def _signs(refused: Mapping[str, str]) -> tuple[str, ...]:
    words = {
        "tests": "changed the tests",
        "settings": "changed the settings of the tests",
    }
    found = []
    for why, said in words.items():
        paths = [path for path, reason in refused.items() if reason == why]
        paths = [path for path in paths if not CACHE.fullmatch(path)]
        if paths:
            found.append(f"{said} ({paths[0][:60]})")
    return tuple(found)


def with_tables_of(name: str, contents: bytes, original: bytes) -> bytes:
    """A file of settings in which those of pytest are the original's.

    One that cannot be read is the original.
    """
    try:
        if name.endswith(".toml"):
            return _toml(contents, original)
        return _ini(contents, original, TABLES[name])
    except (ValueError, configparser.Error, UnicodeDecodeError, RecursionError):
        return original


def _toml(contents: bytes, original: bytes) -> bytes:
    told, before = tomllib.loads(contents.decode()), tomllib.loads(original.decode())
    table = dict(_table(told, "tool"))
    theirs = _table(before, "tool")
    for key in ("pytest",):
        table.pop(key, None)
        if key in theirs:
            table[key] = theirs[key]
    if _table(told, "tool").get("pytest") == theirs.get("pytest"):
        return contents  # as it was written, comments and all
    return tomli_w.dumps({**told, "tool": table}).encode()


def _table(whole: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = whole.get(key, {})
    return table if isinstance(table, Mapping) else {}


def _ini(contents: bytes, original: bytes, tables: Collection[str]) -> bytes:
    told, before = (configparser.RawConfigParser(strict=False) for _ in range(2))
    told.optionxform = before.optionxform = str  # type: ignore[assignment,method-assign]
    told.read_string(contents.decode())
    before.read_string(original.decode())

    def rows(parser: configparser.RawConfigParser) -> dict[str, list[tuple[str, str]]]:
        return {table: parser.items(table) for table in tables if parser.has_section(table)}

    if rows(told) == rows(before):
        return contents
    for table in tables:
        told.remove_section(table)
    for table, items in rows(before).items():
        told.add_section(table)
        for key, value in items:
            told.set(table, key, value)
    written = io.StringIO()
    told.write(written)
    return written.getvalue().encode()
