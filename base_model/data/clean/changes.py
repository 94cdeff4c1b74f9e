"""Commits and pull requests: the state before is read, the change is learned.

    prefix, not learned     path and lines of every file as it was, those near a hunk
    text, learned           title, description, and the patch

A record of JSONL is `{"repository": ..., "title": ..., "body": ..., "files": [...]}`, every file
with `path`, `before`, and either `after` or `patch` (the hunks of a unified diff). A file that is
new has an empty `before`; one that goes has an empty `after`. Report, section 2.4 and appendix A.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from munro.base_model.data.config import ChangesConfig
from munro.base_model.data.documents import Document
from munro.base_model.data.guard import TookTooLong, at_most

HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
GAP = "..."
"""Stands for lines of the state before that are far from every hunk."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """A change of some lines in a row."""

    start: int
    """First line of the state before, counted from 0."""
    lines: tuple[str, ...]
    """As in a unified diff: " kept", "-removed", "+added"."""

    @property
    def old(self) -> list[str]:
        """What stood there."""
        return [line[1:] for line in self.lines if line[0] in " -"]

    @property
    def new(self) -> list[str]:
        """What stands there."""
        return [line[1:] for line in self.lines if line[0] in " +"]


def document_of(
    record: dict[str, Any], key: str, config: ChangesConfig, *, seconds: float
) -> tuple[Document | None, str]:
    """The document of a change, or None and why there is none."""
    title = str(record.get("title") or record.get("message") or "").strip()
    body = str(record.get("body") or "").strip()
    files = record.get("files")
    if not isinstance(files, list) or not files:
        return None, "no files"
    if sum(len(str(file)) for file in files) > config.max_characters:
        return None, "too long"
    try:
        with at_most(seconds):
            changed = [_file(file, config) for file in files if isinstance(file, dict)]
    except TookTooLong:
        return None, "took too long"
    changed = [one for one in changed if one[1]]
    if not changed:
        return None, "no change"
    prefix = "".join(before for before, _ in changed)
    text = "\n\n".join([part for part in (title, body) if part] + [patch for _, patch in changed])
    repository = str(record.get("repository") or record.get("repo") or "")
    return Document(key=key, text=text + "\n", prefix=prefix, group=repository), ""


def hunks_of_patch(patch: str) -> Iterator[Hunk]:
    """Hunks of a unified diff, as far as they are well formed."""
    start, lines = 0, list[str]()
    for line in patch.split("\n"):
        if found := HUNK.match(line):
            if lines:
                yield Hunk(start, tuple(lines))
            # a hunk that only adds names the line before it, or 0 where there is none
            start = max(0, int(found[1]) - 1) if found[2] != "0" else int(found[1])
            lines = []
        elif line[:1] in (" ", "-", "+") and not line.startswith(("--- ", "+++ ")):
            lines.append(line)
    if lines:
        yield Hunk(start, tuple(lines))


def _file(file: dict[str, Any], config: ChangesConfig) -> tuple[str, str]:
    """What is read and what is learned of one changed file; both "" where nothing changed."""
    path, before = str(file.get("path") or ""), str(file.get("before") or "")
    patch = file.get("patch")
    if not isinstance(patch, str):
        old, new = before.splitlines(), str(file.get("after") or "").splitlines()
        diff = difflib.unified_diff(old, new, lineterm="", n=config.context_lines)
        patch = "\n".join(list(diff)[2:])
    hunks = list(hunks_of_patch(patch))
    if not hunks:
        return "", ""
    shown = _near(before.splitlines(), hunks, config.near_lines)
    prefix = f"=== {path}\n{shown}\n" if shown else f"=== {path}\n"
    if config.form == "search-replace":
        return prefix, "\n".join([f"=== {path}", *map(_searched, hunks)])
    return prefix, f"--- a/{path}\n+++ b/{path}\n{patch.strip(chr(10))}"


def _searched(hunk: Hunk) -> str:
    parts = ["<<<<<<< SEARCH", *hunk.old, "=======", *hunk.new, ">>>>>>> REPLACE"]
    return "\n".join(parts)


def _near(before: Sequence[str], hunks: Sequence[Hunk], reach: int) -> str:
    """The lines within reach of a hunk, a mark where others were left out."""
    kept = [False] * len(before)
    for hunk in hunks:
        stop = hunk.start + len(hunk.old)
        for number in range(max(0, hunk.start - reach), min(len(before), stop + reach)):
            kept[number] = True
    shown = list[str]()
    for line, is_near in zip(before, kept, strict=True):
        if is_near:
            shown.append(line)
        elif not shown or shown[-1] is not GAP:
            shown.append(GAP)
    return "\n".join(shown)
