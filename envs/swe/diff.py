"""What an agent made of a repository, as a unified diff for a reader.

Made by us from the box's changes as data: nothing of the agent's tree is run, and no text of it can
make this slow. Where much of a file changed, all between its first and its last changed line is
shown as taken out and put in, which says the same at more length.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence

from munro.rewards.sandbox import Change

MOST_CHARS = 200_000
"""Of a whole diff."""
MOST_FILE = 1 << 20
"""Bytes of a file, before or after, that is shown line by line."""
FEW_LINES = 300
"""Changed lines up to which the shortest diff is looked for."""
CONTEXT = 3
NOT_SHOWN = (".git", "__pycache__", ".pytest_cache")


def diff_of(changes: Iterable[Change], before: Callable[[str], bytes | None]) -> str:
    """Changes as one text; "" for none.

    Args:
        changes: of the agent's box.
        before: a file as it was, or None where there was none.
    """
    parts: list[str] = []
    room, left_out = MOST_CHARS, 0
    for change in changes:
        if not {*change.path.split("/")}.isdisjoint(NOT_SHOWN) or str(change.kind) == "folder":
            continue
        text = "".join(_of(change, before)) if room > 0 else ""
        if len(text) > room:
            left_out += 1
            continue
        room -= len(text)
        parts.append(text)
    if left_out:
        parts.append(f"{left_out} more changed files are not shown\n")
    return "".join(parts)


def _of(change: Change, before: Callable[[str], bytes | None]) -> Iterator[str]:
    path = change.path.encode(errors="backslashreplace").decode().replace("\n", "\\n")
    old = before(change.path)
    if str(change.kind) == "link":
        target = change.target.encode(errors="backslashreplace").decode().replace("\n", "\\n")
        yield f"{path} is a link to {target}\n"
        return
    is_gone = str(change.kind) == "deleted"
    if not is_gone and str(change.kind) != "file":
        yield f"{path} is no plain file\n"
        return
    new = b"" if is_gone else change.contents
    if new is not None and new == old and not is_gone:
        return
    sizes = f"{len(old or b''):,} bytes before, {0 if is_gone else change.size:,} after"
    if new is None or max(len(new), len(old or b"")) > MOST_FILE:
        yield f"{path} is changed ({sizes})\n"
        return
    texts = [_text(old or b""), _text(new)]
    if texts[0] is None or texts[1] is None:
        yield f"{path} is changed and is no text ({sizes})\n"
        return
    names = ("/dev/null" if old is None else f"a/{path}", "/dev/null" if is_gone else f"b/{path}")
    yield f"--- {names[0]}\n+++ {names[1]}\n"
    yield from _hunks(_lines(texts[0]), _lines(texts[1]))


def _hunks(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """Hunks of a unified diff, in time linear in the lines."""
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    top, below = max(first - CONTEXT, 0), max(last - CONTEXT, 0)
    ours, theirs = old[top : len(old) - below], new[top : len(new) - below]
    if max(len(ours), len(theirs)) <= FEW_LINES:
        found = difflib.unified_diff(ours, theirs, n=CONTEXT, lineterm="")
        for line in list(found)[2:]:
            yield f"{_moved(line, top) if line.startswith('@@') else line}\n"
        return
    yield f"@@ -{top + 1},{len(ours)} +{top + 1},{len(theirs)} @@\n"
    for mark, lines in (
        (" ", old[top:first]),
        ("-", old[first : len(old) - last]),
        ("+", new[first : len(new) - last]),
        (" ", old[len(old) - last : len(old) - below]),
    ):
        yield from (f"{mark}{line}\n" for line in lines)


def _lines(text: str) -> list[str]:
    """Without their ends; a last one that has none says so, as in any diff."""
    *lines, last = text.split("\n")
    return [*lines, f"{last}\n\\ No newline at end of file"] if last else lines


def _moved(head: str, by: int) -> str:
    """The head of a hunk whose lines are counted from line `by` of the file on."""
    words = head.split()
    for at in (1, 2):
        start, comma, length = words[at][1:].partition(",")
        words[at] = f"{words[at][0]}{int(start) + by}{comma}{length}"
    return " ".join(words)


def _text(contents: bytes) -> str | None:
    if b"\0" in contents:
        return None
    try:
        return contents.decode()
    except UnicodeDecodeError:
        return None
