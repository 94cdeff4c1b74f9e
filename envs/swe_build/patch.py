"""Patches as text that `git apply` takes, and patches with one of their hunks left out.

Made from contents rather than asked of git, so that a made bug and a pull request are written alike
and no setting of a repository changes a byte of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher

CONTEXT = 3
NO_END = b"\\ No newline at end of file\n"
Group = Sequence[tuple[str, int, int, int, int]]


def patch_of(old: Mapping[str, bytes | None], new: Mapping[str, bytes | None]) -> str:
    """A unified diff from `old` to `new`, by path; a path that is not in `old` is made.

    Contents must be UTF-8 and paths printable.
    """
    parts = []
    for path in sorted(new):
        before, after = old.get(path), new[path]
        if before == after:
            continue
        parts.append(f"diff --git a/{path} b/{path}\n".encode())
        if before is None:
            parts.append(b"new file mode 100644\n")
        if after is None:
            parts.append(b"deleted file mode 100644\n")
        groups = list(grouped(before or b"", after or b""))
        if groups:
            source = b"/dev/null" if before is None else f"a/{path}".encode()
            target = b"/dev/null" if after is None else f"b/{path}".encode()
            parts += [b"--- ", source, b"\n+++ ", target, b"\n"]
        for group in groups:
            parts.append(_hunk(group, split(before or b""), split(after or b"")))
    return b"".join(parts).decode()


def split(contents: bytes) -> list[bytes]:
    """Lines with their ends, at line feeds alone, as git has them."""
    lines = contents.split(b"\n")
    ended = [line + b"\n" for line in lines[:-1]]
    return [*ended, lines[-1]] if lines[-1] else ended


def grouped(old: bytes, new: bytes) -> Iterator[Group]:
    """The hunks of a file, as operations on its lines."""
    matcher = SequenceMatcher(None, split(old), split(new), autojunk=False)
    return (group for group in matcher.get_grouped_opcodes(CONTEXT))


def _hunk(group: Group, old: Sequence[bytes], new: Sequence[bytes]) -> bytes:
    first, last = group[0], group[-1]
    head = f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@\n".encode()
    lines = [head]
    for tag, low, high, new_low, new_high in group:
        if tag == "equal":
            lines += [_line(b" ", line) for line in old[low:high]]
        else:
            lines += [_line(b"-", line) for line in old[low:high]]
            lines += [_line(b"+", line) for line in new[new_low:new_high]]
    return b"".join(lines)


def _range(low: int, high: int) -> str:
    length = high - low
    start = low + 1 if length else low
    return f"{start}" if length == 1 else f"{start},{length}"


def _line(mark: bytes, line: bytes) -> bytes:
    return mark + line if line.endswith(b"\n") else mark + line + b"\n" + NO_END


def changed_blocks(old: bytes, new: bytes) -> list[tuple[int, int, int, int]]:
    """Places that differ: lines of the old file [a, b), lines of the new one [c, d)."""
    matcher = SequenceMatcher(None, split(old), split(new), autojunk=False)
    return [(a, b, c, d) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"]


def without_hunk(old: bytes, new: bytes, index: int) -> bytes:
    """The new file with one of its hunks (`grouped`) as it was before."""
    before, after = split(old), split(new)
    left_out = {op for op in list(grouped(old, new))[index] if op[0] != "equal"}
    lines: list[bytes] = []
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for op in matcher.get_opcodes():
        lines += before[op[1] : op[2]] if op in left_out else after[op[3] : op[4]]
    return b"".join(lines)


def added_lines(old: bytes, new: bytes) -> list[int]:
    """Numbers, from 1, of the new file's lines that the old one has not at that place."""
    return [line + 1 for _, _, low, high in changed_blocks(old, new) for line in range(low, high)]
