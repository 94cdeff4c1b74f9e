"""Candidates in a history: merges against their first parent, squashes, pull requests by ref.

The first-parent line is walked from its newest end; what GitHub's `refs/pull/*/head` (and GitLab's
`refs/merge-requests/*/head`) hold beside it comes after, against the place where each left it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from munro.envs.swe_build.errors import BadRepository, Dropped
from munro.envs.swe_build.git import EXECUTABLE, FILE, LINK, SUBMODULE, Change, Commit, Repository
from munro.envs.swe_build.patch import added_lines
from munro.envs.swe_build.proposal import Contents, Proposal
from munro.envs.swe_build.split import Side, is_generated, packages_in, runs, side

PULL_REFS = ("refs/pull/*/head", "refs/merge-requests/*/head", "refs/remotes/*/pr/*")
NOTHING = "000000"
REVERT = re.compile(r"(?i)^revert\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a candidate must be."""

    most_files: int = 15
    """Files that the patch touches, documentation included (the report's bound)."""
    most_lines: int = 1500
    """Lines of its code files that are new, at most."""
    most_bytes: int = 1 << 20
    """Of one file."""
    only: tuple[str, ...] = ()
    """Folders that all code of the patch must be in; none for anywhere."""


@dataclass(frozen=True, slots=True)
class Source:
    """Two commits whose difference may be a task."""

    kind: str
    base: str
    fix: Commit
    number: str = ""
    """Of the pull request, where a ref or a message says it."""


def _require_date(repository: Repository, name: str, date: str) -> None:
    """git takes what it cannot read for this very second, and says nothing."""
    if not date or date.lower() in ("now", "today"):
        return
    read = repository.text("rev-parse", f"--since={date}").strip()
    if abs(float(read.partition("=")[2]) - time.time()) < 10:
        raise BadRepository(f"--{name} {date}: git reads no date in that; write one as 2024-05-31")


def sources(repository: Repository, since: str = "", until: str = "") -> Iterator[Source]:
    """Every place of a history that may hold a task, newest first.

    Args:
        since: a date as git reads it; older ones are left out. Empty for all.
        until: likewise; younger ones are left out.

    Raises:
        BadRepository: the history has a single commit, or none; or what is to be a date is none.
    """
    for name, date in (("since", since), ("until", until)):
        _require_date(repository, name, date)
    head = repository.resolve("HEAD")
    selection = [f"--since={since}"] if since else []
    selection += [f"--until={until}"] if until else []
    line = repository.commits("--first-parent", *selection, head)
    if not line and selection:
        between = " ".join(
            f"{word} {date}" for word, date in (("since", since), ("until", until)) if date
        )
        raise BadRepository(
            f"{repository.path} has no commit {between}: name an earlier --since or a later --until"
        )
    if len(line) < 2 and not selection:
        cut = ", for it is a shallow clone: git fetch --unshallow" if repository.is_shallow else ""
        raise BadRepository(
            f"{repository.path} has a history of one commit: there is no change to learn from{cut}"
        )
    for commit in line:
        if commit.parents:
            kind = "merge" if len(commit.parents) > 1 else "squash"
            yield Source(kind, commit.parents[0], commit, number_of(commit.message))
    yield from _pull_requests(repository, head, selection)


def _pull_requests(repository: Repository, head: str, selection: Sequence[str]) -> Iterator[Source]:
    refs = repository.text("for-each-ref", "--format=%(objectname) %(refname)", *PULL_REFS)
    tips = [line.split(" ", 1) for line in refs.splitlines()]
    for oid, name in sorted(tips, key=lambda tip: [int(n) for n in re.findall(r"\d+", tip[1])]):
        commits = repository.commits("--max-count=1", *selection, oid)
        try:
            base = repository.text("merge-base", head, oid).strip()
        except BadRepository:  # another root: there is no place where it left
            continue
        if commits and base != oid:
            number = re.findall(r"\d+", name)[-1]
            yield Source("pull request", base, commits[0], number)


def number_of(message: str) -> str:
    """The number of the pull request that a message names; "" where it names none."""
    first, _, _ = message.partition("\n")
    found = re.search(r"pull request #(\d+)|merge request \S*!(\d+)|\(#(\d+)\)\s*$", first)
    return next(filter(None, found.groups()), "") if found else ""


def propose(repository: Repository, source: Source, rules: Rules, name: str) -> Proposal:
    """What a source proposes.

    Args:
        name: that ids of tasks begin with.

    Raises:
        Dropped: it is no candidate; says why.
    """
    if REVERT.match(source.fix.message):
        raise Dropped("candidates", "reverts an earlier change")
    changes = [
        change
        for change in repository.changes(source.base, source.fix.oid)
        if change.old.oid != change.new.oid or LINK in (change.old.mode, change.new.mode)
    ]
    _check(changes, rules)
    tree = repository.tree(source.base)
    packages = packages_in([*tree, *(change.path for change in changes)])
    sides = {change.path: side(change.path, packages) for change in changes}
    if Side.CODE not in sides.values():
        raise Dropped("candidates", "no code changed")
    if Side.TESTS not in sides.values():
        raise Dropped("candidates", "no test changed")
    wanted = [change for change in changes if sides[change.path] is not Side.OTHER]
    new = _contents(repository, wanted)
    for path in list(new):  # what a tool wrote, or another project, is nobody's fix
        if sides[path] is Side.CODE and is_generated(path, new[path] or b""):
            del new[path]
    wanted = [change for change in wanted if change.path in new]
    tests = {path: new[path] for path in new if sides[path] is Side.TESTS}
    code = {path: new[path] for path in new if sides[path] is Side.CODE}
    if rules.only and not all(path.startswith(rules.only) for path in code):
        raise Dropped("candidates", "changes code outside of --only")
    if not code:
        raise Dropped("candidates", "only generated or vendored code changed")
    if not any(runs(path) and contents is not None for path, contents in tests.items()):
        raise Dropped("candidates", "no test file is left that pytest collects")
    _check_contents(code, tests, rules)
    old = _contents(repository, [_undone(change) for change in wanted])
    added = sum(len(added_lines(old[path] or b"", code[path] or b"")) for path in code)
    if added > rules.most_lines:
        raise Dropped("candidates", f"more than {rules.most_lines} new lines of code")
    before = repository.commits("--max-count=1", source.base)[0]
    return Proposal(
        id=f"{name}-{source.fix.oid[:10]}",
        kind=source.kind,
        rev=source.base,
        seconds=before.seconds,
        gold=code,
        tests=tests,
        message=_told(repository, source),
        provenance={"base": source.base, "fix": source.fix.oid, "number": source.number},
    )


def _told(repository: Repository, source: Source) -> str:
    """Message of the fix, and of the commits that a merge brought in, oldest first."""
    if source.kind == "squash":
        return source.fix.message
    brought = repository.commits(
        "--no-merges", "--reverse", "--max-count=20", source.fix.oid, f"^{source.base}"
    )
    told = [source.fix.message, *(commit.message for commit in brought)]
    return "\n\n".join(dict.fromkeys(told))


def _check(changes: Sequence[Change], rules: Rules) -> None:
    if not changes:
        raise Dropped("candidates", "nothing changed")
    if len(changes) > rules.most_files:
        raise Dropped("candidates", f"more than {rules.most_files} files changed")
    for change in changes:
        modes = {change.old.mode, change.new.mode}
        if SUBMODULE in modes:
            raise Dropped("candidates", "changes a submodule")
        if LINK in modes:
            raise Dropped("candidates", "changes a symbolic link")
        if modes - {NOTHING, FILE, EXECUTABLE, "100664"}:
            raise Dropped("candidates", "changes something that is no plain file")
        if not is_plain(change.path):
            raise Dropped("candidates", "a path with a line end, a control character or no UTF-8")


def is_plain(path: str) -> bool:
    """Whether a path can stand on one line of a patch."""
    return path.isprintable() and not any("\ud800" <= mark <= "\udfff" for mark in path)


def _contents(repository: Repository, changes: Sequence[Change]) -> dict[str, bytes | None]:
    there = [change.new.oid for change in changes if change.new.mode != NOTHING]
    blobs = repository.blobs(there)
    return {
        change.path: blobs[change.new.oid] if change.new.mode != NOTHING else None
        for change in changes
    }


def _undone(change: Change) -> Change:
    return Change(change.path, change.new, change.old)


def _check_contents(code: Contents, tests: Contents, rules: Rules) -> None:
    for contents in [*code.values(), *tests.values()]:
        if contents is not None and len(contents) > rules.most_bytes:
            raise Dropped("candidates", f"a file over {rules.most_bytes >> 10} KiB")
    for contents in [*code.values(), *tests.values()]:
        if contents is not None and not is_text(contents):
            raise Dropped("candidates", "changes a binary file")


def is_text(contents: bytes) -> bool:
    """Whether a patch can show it: UTF-8 without a NUL."""
    try:
        return "\0" not in contents.decode()
    except UnicodeDecodeError:
        return False
