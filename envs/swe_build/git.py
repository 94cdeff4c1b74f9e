"""Reads a git repository without running anything that it or its settings name.

Objects are read by `cat-file` and trees by `ls-tree`; nothing is checked out, so no filter, hook,
monitor, external diff, signature program or lazy fetch of the repository's own is ever started.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from munro.envs.swe_build.errors import BadRepository

SILENT = (
    ("core.fsmonitor", ""),
    ("core.hooksPath", os.devnull),
    ("core.quotePath", "true"),
    ("core.attributesFile", os.devnull),
    ("core.excludesFile", os.devnull),
    ("diff.external", ""),
    ("gc.auto", "0"),
    ("gpg.program", "false"),
    ("log.showSignature", "false"),
    ("maintenance.auto", "false"),
    ("pack.threads", "1"),
    ("protocol.allow", "never"),
    ("safe.directory", "*"),
)
"""Settings that hold against those of the repository; `safe.directory` because of the others."""
FILE, EXECUTABLE, LINK, SUBMODULE = "100644", "100755", "120000", "160000"
NEVER_S = 600.0
"""Seconds after which a git command is given up."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a path is in a tree."""

    mode: str
    oid: str


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two trees; a mode of "000000" where it is not there.

    Example:
        Change(path="a.py", old=Entry("100644", "1f..."), new=Entry("100644", "8c..."))
    """

    path: str
    old: Entry
    new: Entry


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, as far as tasks need it."""

    oid: str
    parents: tuple[str, ...]
    seconds: int
    """Since 1970, of the committer."""
    message: str


class Repository:
    """A git repository on disk. Safe to use from many threads: each call is a process."""

    def __init__(self, path: str | Path) -> None:
        """
        Raises:
            BadRepository: there is no such folder, it is no repository, or git is missing.
        """
        self.path = Path(path).expanduser()
        if not self.path.is_dir():
            raise BadRepository(f"{path}: there is no such folder; give a git repository's")
        self._dir = self.path
        try:
            found = self.text("rev-parse", "--absolute-git-dir").strip()
        except BadRepository as failure:
            if "cannot be run" in str(failure):
                raise
            raise BadRepository(
                f"{path} is no git repository: give the folder that holds .git, or a bare "
                "repository"
            ) from failure
        self._dir = Path(found)

    def run(self, *arguments: str, stdin: bytes = b"", extra: Mapping[str, str] = {}) -> bytes:
        """What a git command prints.

        Raises:
            BadRepository: it failed; with the last line of what it said.
        """
        settings = [part for key, value in SILENT for part in ("-c", f"{key}={value}")]
        command = ["git", *settings, "-C", str(self._dir), *arguments]
        try:
            done = subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                env=environment(self._dir, extra),
                timeout=NEVER_S,
                check=False,
            )
        except FileNotFoundError as failure:
            raise BadRepository("git cannot be run: install it (apt-get install git)") from failure
        except subprocess.TimeoutExpired as failure:
            raise BadRepository(
                f"{self.path}: git {arguments[0]} did not end in {NEVER_S:g} s"
            ) from failure
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise BadRepository(f"{self.path}: git {arguments[0]} failed: {said[-1]}")
        return done.stdout

    def text(self, *arguments: str, stdin: bytes = b"", extra: Mapping[str, str] = {}) -> str:
        """As `run`; bytes that are no UTF-8 stay as lone surrogates."""
        return self.run(*arguments, stdin=stdin, extra=extra).decode(errors="surrogateescape")

    def resolve(self, revision: str) -> str:
        """The id of the commit that a revision names.

        Raises:
            BadRepository: it names none.
        """
        try:
            return self.text("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")[
                :-1
            ]
        except BadRepository as failure:
            what = "has no commit yet" if revision == "HEAD" else f"has no commit {revision!r}"
            raise BadRepository(f"{self.path} {what}") from failure

    def commits(self, *selection: str) -> list[Commit]:
        """Commits, newest first, as `git log` selects them."""
        raw = self.text("log", "--no-color", "--format=tformat:%H %P%n%ct%n%B%x00", *selection)
        found = []
        for record in raw.split("\0"):
            if record.strip():
                ids, seconds, message = record.lstrip("\n").split("\n", 2)
                oid, *parents = ids.split()
                found.append(Commit(oid, tuple(parents), int(seconds), message.strip()))
        return found

    def tree(self, revision: str) -> dict[str, Entry]:
        """Every file, link and submodule of a commit, by its path."""
        raw = self.text("ls-tree", "-r", "-z", "--full-tree", revision)
        found = {}
        for record in filter(None, raw.split("\0")):
            head, _, path = record.partition("\t")
            mode, _, oid = head.split()
            found[path] = Entry(mode, oid)
        return found

    def changes(self, base: str, fix: str) -> list[Change]:
        """The paths that differ between two commits, renames as one gone and one new."""
        raw = self.text("diff-tree", "-r", "-z", "--raw", "--no-renames", "--full-index", base, fix)
        words = raw.split("\0")
        found = []
        for head, path in zip(words[::2], words[1::2], strict=False):
            old_mode, new_mode, old, new, _ = head.lstrip(":").split()
            found.append(Change(path, Entry(old_mode, old), Entry(new_mode, new)))
        return found

    def blobs(self, oids: Iterable[str]) -> dict[str, bytes]:
        """Contents by id.

        Raises:
            BadRepository: an object is missing, as in a partial clone.
        """
        wanted = sorted(set(oids))
        raw = self.run("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in wanted).encode())
        found, at = {}, 0
        for oid in wanted:
            end = raw.index(b"\n", at)
            words = raw[at:end].split()
            if len(words) != 3:
                raise BadRepository(
                    f"{self.path} lacks object {oid}: fetch all of it (a partial clone holds part)"
                )
            size = int(words[2])
            found[oid] = raw[end + 1 : end + 1 + size]
            at = end + 2 + size
        return found

    @property
    def is_shallow(self) -> bool:
        """Whether its history was cut off when it was cloned."""
        return (self._dir / "shallow").exists()


def environment(folder: Path, extra: Mapping[str, str] = {}) -> dict[str, str]:
    """What git may know: no settings of the user or the machine, no terminal, no way up."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "LC_ALL": "C",
        "TZ": "UTC",
        "GIT_CEILING_DIRECTORIES": str(folder.absolute().parent),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        **extra,
    }


def lines_of(words: Sequence[str]) -> bytes:
    """As git reads them from its standard input."""
    return "".join(f"{word}\n" for word in words).encode()


def walk(folder: Path, without: Collection[str] = ()) -> Iterator[Path]:
    """Files and links below a folder, sorted, save in some folders; links are not followed."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if os.path.join(root, name) not in without)
        names = [*files, *(name for name in folders if (Path(root) / name).is_symlink())]
        for name in sorted(names):
            yield Path(root) / name
