"""The editor of an agent: text files of a session, looked at and changed from outside.

What the model got wrong is a `ToolError`, which it reads. Paths are below the working directory;
nothing here follows a link.
"""

from __future__ import annotations

from collections import deque
from pathlib import PurePosixPath

from munro.envs.tool_use import ToolError
from munro.rewards.sandbox import Found, Kind, Session

WORK = "/tmp/work"
MOST_FILE_BYTES = 8 << 20
MOST_REMEMBERED = 1 << 18
"""Bytes of all texts that can be brought back."""
AROUND = 4
"""Lines shown on each side of an edit."""


class Editor:
    """Edits of one session.

    Args:
        session: whose files.
        most_bytes: of what a view shows; more is cut in the middle.
        top: path, in the box, of the session's working directory.
        home: path, in the box, that relative paths are below.
    """

    def __init__(
        self, session: Session, most_bytes: int, *, top: str = WORK, home: str = WORK
    ) -> None:
        self._session = session
        self._most_bytes = most_bytes
        self._top, self._home = top, home
        self._edits: deque[tuple[str, str | None]] = deque()
        """(path, text before; None where there was no file), the last edit last."""

    def view(self, path: str, view_range: list[int] | None) -> str:
        """A file with numbered lines, or what is in a folder."""
        place = self._place(path)
        found = self._found(place)
        if found.kind is Kind.FOLDER:
            if view_range is not None:
                raise ToolError(f"{place} is a folder: view_range is for files")
            return self._clipped("".join(f"{name}\n" for name in found.names) or "(empty)")
        lines = _lines(self._text(place, found))
        first, last = 1, len(lines)
        if view_range is not None:
            first, last = view_range
            last = len(lines) if last == -1 else last
            if not 1 <= first <= max(1, last) or last > len(lines):
                raise ToolError(
                    f"view_range {view_range} is not in the file, which has {len(lines)} lines"
                )
        return self._clipped(_numbered(lines[first - 1 : last], first) or "(empty)")

    def create(self, path: str, text: str | None) -> str:
        """A new file."""
        place = self._place(path)
        if text is None:
            raise ToolError("create needs file_text")
        if self._session.look(place, most_bytes=0) is not None:
            raise ToolError(f"{place} exists: create makes new files only, str_replace changes one")
        self._put(place, text, before=None)
        return f"{place} is there now, with {len(_lines(text))} lines"

    def replace(self, path: str, old: str | None, new: str | None) -> str:
        """Text that is in a file once, by other text."""
        place = self._place(path)
        if not old:
            raise ToolError("str_replace needs old_str, the text to replace")
        text = self._text(place, self._found(place))
        new = new or ""
        if old == new:
            raise ToolError("old_str and new_str are the same")
        places = _places(text, old)
        if not places:
            raise ToolError(f"old_str is not in {place}: it must be there word for word")
        if len(places) > 1:
            lines = ", ".join(str(text.count("\n", 0, at) + 1) for at in places[:10])
            raise ToolError(
                f"old_str is in {place} {_times(len(places))}, in lines {lines}: add lines around "
                "it until it is there once"
            )
        at = places[0]
        after = text[:at] + new + text[at + len(old) :]
        self._put(place, after, before=text)
        return self._shown(place, after, text.count("\n", 0, at), new)

    def insert(self, path: str, line: int | None, new: str | None) -> str:
        """Lines after line `line` of a file."""
        place = self._place(path)
        if line is None or new is None:
            raise ToolError("insert needs insert_line and new_str")
        text = self._text(place, self._found(place))
        lines = _lines(text)
        if line > len(lines):
            raise ToolError(f"insert_line {line} is not in the file, which has {len(lines)} lines")
        above, below = "".join(lines[:line]), "".join(lines[line:])
        if above and not above.endswith("\n"):
            above += "\n"
        if below and not new.endswith("\n"):
            new += "\n"
        self._put(place, above + new + below, before=text)
        return self._shown(place, above + new + below, line, new)

    def undo(self, path: str) -> str:
        """The last edit of a file, taken back."""
        place = self._place(path)
        for number in range(len(self._edits) - 1, -1, -1):
            edited, before = self._edits[number]
            if edited == place:
                break
        else:
            raise ToolError(f"there is no edit of {place} to take back")
        self._write(place, before)
        del self._edits[number]
        return f"{place} is as it was before" if before is not None else f"{place} is gone again"

    def remembered(self) -> list[tuple[str, str | None]]:
        """What could be undone, for `recall`."""
        return list(self._edits)

    def recall(self, edits: list[tuple[str, str | None]]) -> None:
        """The edits of an editor before this one."""
        self._edits = deque((path, before) for path, before in edits)

    def _put(self, place: str, text: str, before: str | None) -> None:
        self._write(place, text)
        self._edits.append((place, before))
        while sum(len(old or "") for _, old in self._edits) > MOST_REMEMBERED:
            self._edits.popleft()

    def _write(self, place: str, text: str | None) -> None:
        try:
            contents = None if text is None else text.encode()
        except UnicodeEncodeError:
            raise ToolError("the text holds half a surrogate pair, which is no text") from None
        if failure := self._session.write(place, contents):
            raise ToolError(f"{place} is not changed: {failure}")

    def _place(self, path: str) -> str:
        pure = PurePosixPath(self._home, path)
        if not pure.is_relative_to(self._top):
            raise ToolError(f"{path!r} is not below {self._top}: use bash for files elsewhere")
        if ".." in pure.parts or "\0" in path:
            raise ToolError(f"{path!r} leads out of {self._top}: write a path without '..'")
        return str(pure.relative_to(self._top))

    def _found(self, place: str) -> Found:
        found = self._session.look(place, most_bytes=MOST_FILE_BYTES)
        if found is None:
            raise ToolError(f"{place} does not exist")
        if found.kind is Kind.LINK:
            target = found.contents.decode(errors="replace")
            raise ToolError(f"{place} is a link to {target!r}: name the file itself")
        if found.kind is Kind.OTHER:
            raise ToolError(f"{place} cannot be read: shut, behind a link, or no regular file")
        return found

    def _text(self, place: str, found: Found) -> str:
        if found.kind is Kind.FOLDER:
            raise ToolError(f"{place} is a folder")
        if found.size > len(found.contents):
            raise ToolError(f"{place} has {found.size} bytes, too many: use bash for a part of it")
        try:
            return found.contents.decode()
        except UnicodeDecodeError:
            raise ToolError(f"{place} is no UTF-8 text: use bash") from None

    def _shown(self, place: str, text: str, at: int, new: str) -> str:
        """An edit and the lines around it.

        Args:
            at: lines above the edit.
        """
        lines = _lines(text)
        first = max(0, at - AROUND)
        last = at + new.count("\n") + 1 + AROUND
        return self._clipped(f"{place} now reads:\n{_numbered(lines[first:last], first + 1)}")

    def _clipped(self, text: str) -> str:
        raw = text.encode(errors="backslashreplace")  # a name may hold bytes that are no text
        if len(raw) <= self._most_bytes:
            return raw.decode()
        head, tail = (self._most_bytes + 1) // 2, self._most_bytes // 2
        mark = f"\n[... {len(raw) - self._most_bytes} bytes left out; view_range shows them ...]\n"
        end = raw[len(raw) - tail :].decode(errors="ignore")
        return raw[:head].decode(errors="ignore") + mark + end


def _lines(text: str) -> list[str]:
    """Lines with their ends, which are line feeds and nothing else."""
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _numbered(lines: list[str], first: int) -> str:
    text = "".join(f"{number:6}\t{line}" for number, line in enumerate(lines, first))
    return text if not text or text.endswith("\n") else text + "\n"


def _places(text: str, part: str) -> list[int]:
    """Where `part` begins, also where two of it overlap."""
    found: list[int] = []
    at = text.find(part)
    while at >= 0 and len(found) < 1000:
        found.append(at)
        at = text.find(part, at + 1)
    return found


def _times(number: int) -> str:
    return "twice" if number == 2 else f"{number} times"
