"""Applies a patch in git's form to contents, without git and without a file.

A hunk fits where its lines stand as it says, or nowhere: a patch that is a little off is not
applied a little off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


class BadPatch(ValueError):
    """It is no patch in git's form, or it does not fit."""

    is_sentence = True


def applied(patch: str, read: Callable[[str], bytes | None]) -> dict[str, bytes | None]:
    """What the files that a patch names hold afterwards, None for those that are gone.

    Args:
        patch: as `git diff` writes it; renames without a change of contents too.
        read: a file's contents before; None where there is none.

    Raises:
        BadPatch: it does not fit, or changes a binary file, a link or a submodule.
    """
    found: dict[str, bytes | None] = {}

    def now(path: str) -> bytes | None:
        return found[path] if path in found else read(path)

    for old, new, lines in _files(patch.encode(errors="surrogateescape")):
        before = now(old) if old else b""
        if before is None:
            raise BadPatch(f"the patch changes {old}, which is not there")
        after = _changed(before, lines, old or new or "")
        if old and old != new:
            found[old] = None
        if new:
            found[new] = after
    return found


def paths_of(patch: str) -> list[str]:
    """The files that a patch names, by their new names where they have one.

    Raises:
        BadPatch: it is none.
    """
    return [new or old or "" for old, new, _ in _files(patch.encode(errors="surrogateescape"))]


def _files(patch: bytes) -> Iterator[tuple[str | None, str | None, list[bytes]]]:
    """(old path, new path, lines of hunks); None for a file that is not there on that side."""
    lines = patch.split(b"\n")
    at = 0
    while at < len(lines):
        if not lines[at].startswith(b"diff --git "):
            if lines[at].startswith(b"--- "):
                raise BadPatch("the patch is not in git's form: its files begin with 'diff --git'")
            at += 1
            continue
        old, new = _named(lines[at])
        at += 1
        while at < len(lines) and not lines[at].startswith((b"diff --git ", b"@@ ")):
            line = lines[at]
            if line.startswith((b"GIT binary patch", b"Binary files ")):
                raise BadPatch(f"the patch changes {new or old}, a binary file")
            if line.startswith((b"new file mode 12", b"new file mode 16", b"new mode 12")):
                raise BadPatch(f"the patch makes {new or old} a link or a submodule")
            if line.startswith((b"new file mode", b"--- /dev/null")):
                old = None
            elif line.startswith((b"deleted file mode", b"+++ /dev/null")):
                new = None
            elif line.startswith((b"rename from ", b"copy from ")):
                old = _text(line.split(b" ", 2)[2])
            elif line.startswith((b"rename to ", b"copy to ")):
                new = _text(line.split(b" ", 2)[2])
            elif line.startswith((b"--- ", b"+++ ")):
                path = _text(line[4:].partition(b"\t")[0])
                if line.startswith(b"---"):
                    old = path.removeprefix("a/")
                else:
                    new = path.removeprefix("b/")
            at += 1
        start = at
        while at < len(lines) and not lines[at].startswith(b"diff --git "):
            at += 1
        yield old, new, lines[start:at]


def _named(line: bytes) -> tuple[str | None, str | None]:
    match = re.fullmatch(rb'diff --git "?a/(.*?)"? "?b/(.*?)"?', line)
    if match is None:
        raise BadPatch(f"the patch has a line that names no files: {line[:80]!r}")
    return _text(match[1]), _text(match[2])


def _text(path: bytes) -> str:
    if path.startswith(b'"'):
        raise BadPatch(f"the patch names a file that is no plain text: {path[:80]!r}")
    return path.decode(errors="surrogateescape")


def _changed(before: bytes, lines: list[bytes], path: str) -> bytes:
    old = _split(before)
    new: list[bytes] = []
    done, at = 0, 0
    while at < len(lines):
        head = HUNK.match(lines[at])
        if head is None:
            if lines[at].strip():
                raise BadPatch(f"the patch of {path} has a line outside of its hunks: {at + 1}")
            at += 1
            continue
        first, left, right = int(head[1]), int(head[2] or 1), int(head[4] or 1)
        place = first - 1 if left else first
        if place < done:
            raise BadPatch(f"the hunks of the patch of {path} are out of order")
        new += old[done:place]
        done, at = place, at + 1
        while left > 0 or right > 0:
            if at >= len(lines):
                raise BadPatch(f"the patch of {path} ends in the middle of a hunk")
            mark, text = lines[at][:1] or b" ", lines[at][1:]
            at += 1
            if at < len(lines) and lines[at].startswith(b"\\"):
                at += 1  # "No newline at end of file"
            else:
                text += b"\n"
            if mark not in (b" ", b"+", b"-"):
                raise BadPatch(f"the patch of {path} has a line that begins with {mark!r}")
            if mark != b"+":
                if old[done : done + 1] != [text]:
                    raise BadPatch(f"the patch does not fit {path}, line {done + 1}")
                done, left = done + 1, left - 1
            if mark != b"-":
                new.append(text)
                right -= 1
    return b"".join([*new, *old[done:]])


def _split(contents: bytes) -> list[bytes]:
    """Lines with their ends, at line feeds alone."""
    *lines, last = contents.split(b"\n")
    return [*(line + b"\n" for line in lines), *([last] if last else [])]
