"""Whether any file that a box shows holds the fix: packages, caches, documentation, archives.

The fix is known by windows of three consecutive lines of a fixed file that its old version has
not, blank lines left out; compiled files by the code of the functions that changed. Everything
visible is read once for all tasks of a build. `.git` is not looked into: `history.leftovers` proves
it.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType

from munro.envs.swe_build.git import walk
from munro.envs.swe_build.mutate import parsed
from munro.envs.swe_build.proposal import Contents, Proposal

WINDOW = 3
LEAST_LETTERS = 30
"""Letters and digits of a window that says something: three lines of brackets say nothing."""
SURE_LETTERS = 55
"""Of a window that nobody writes by chance: alone, it makes a file a hit."""
FEW_WINDOWS = 3
"""Of a fix so small that each of its windows counts alone."""
IMPORTS = (b"import", b"from")
LEAST_CODE = 32
"""Bytes of a function's code that are looked for in compiled files."""
LEAST_NAMES = 40
"""Letters of a function's names and texts: that of fewer is met by chance."""
MOST_FILE_BYTES = 16 << 20
MOST_NESTED = 2
"""Archives in archives."""
MOST_MEMBERS = 20_000
"""Of an archive; a larger one is looked at so far."""
ESCAPES = ((b"&lt;", b"<"), (b"&gt;", b">"), (b"&quot;", b'"'), (b"&#39;", b"'"), (b"&amp;", b"&"))
ARCHIVES = (".whl", ".zip", ".egg", ".pyz")
COMPILED = (".pyc", ".pyo")
PACKED = (*ARCHIVES, *COMPILED, ".gz", ".tgz")
HEAD_BYTES = 4096
SKIPPED = (".so", ".a", ".o", ".png", ".jpg", ".gif", ".ico", ".woff", ".woff2", ".ttf", ".mo")


@dataclass(frozen=True, slots=True)
class Hit:
    """A visible file that holds part of a fix."""

    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A function as a compiled file holds it: short ones of other names have the same code."""

    code: bytes
    names: frozenset[bytes]
    """Its own, of its variables, of what it uses, and the texts in it."""

    def is_in(self, contents: bytes) -> bool:
        """Whether a compiled file has it."""
        return self.code in contents and all(name in contents for name in self.names)


@dataclass(slots=True)
class Fix:
    """What a fix is known by."""

    windows: frozenset[bytes]
    code: tuple[Compiled, ...] = ()
    """Functions that the fix makes or changes, by this interpreter's compiler."""
    names: frozenset[str] = field(default_factory=frozenset)
    """Normalised names of the distribution that is mended."""


def fix_of(proposal: Proposal, before: Mapping[str, bytes], names: Iterable[str] = ()) -> Fix:
    """What to look for.

    Args:
        before: every file that the box begins with: what stands there already is no leak.
        names: of the repository's own distribution; a wheel or metadata of it elsewhere is a hit.
    """
    old = set[bytes]()
    for contents in before.values():
        old.update(windows(contents))
    new = set[bytes]()
    for fixed in (*proposal.gold.values(), *proposal.tests.values()):
        new.update(windows(fixed or b""))
    return Fix(
        windows=frozenset(new - old),
        code=tuple(_new_code(before, proposal.gold)),
        names=frozenset(map(normalised, names)),
    )


def windows(contents: bytes) -> Iterator[bytes]:
    """Every three consecutive lines, without blank ones and without any spacing."""
    return _windows(bare_lines(contents))


def bare_lines(contents: bytes) -> list[bytes]:
    """Lines without spaces, plus signs of a diff and HTML's escapes; no blank ones."""
    if b"&" in contents:
        for escape, mark in ESCAPES:
            contents = contents.replace(escape, mark)
    lines = contents.translate(None, b" \t\r\v\f").split(b"\n")
    return [bare for line in lines if (bare := line.lstrip(b"+"))]


def _windows(lines: Sequence[bytes]) -> Iterator[bytes]:
    for at in range(len(lines) - WINDOW + 1):
        if all(line.startswith(IMPORTS) or not _letters(line) for line in lines[at : at + WINDOW]):
            continue  # imports alone, brackets and quotes: many files have them alike
        window = b"\n".join(lines[at : at + WINDOW])
        if _letters(window) >= LEAST_LETTERS:
            yield window


def _letters(window: bytes) -> int:
    return sum(chr(byte).isalnum() for byte in window)


def normalised(name: str) -> str:
    """A distribution's name as indexes compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def scan(
    folders: Sequence[Path], fixes: Mapping[str, Fix], without: Sequence[Path] = ()
) -> dict[str, list[Hit]]:
    """Hits by task; none for a task that nothing visible gives away.

    Args:
        folders: everything that the box shows; links are not followed.
        fixes: by task.
        without: folders in them that the box hides.
    """
    hidden = {str(path) for path in without}
    wanted = _Wanted(fixes)
    found: dict[str, list[Hit]] = {}
    for folder in folders:
        for path in walk(folder, hidden):
            if path.is_symlink() or ".git" in path.parts or path.name.endswith(SKIPPED):
                continue
            for task, why in _in_file(path, wanted):
                hit = Hit(str(path), why)
                if hit not in found.setdefault(task, []):
                    found[task].append(hit)
        for task, hit in _metadata(folder, fixes, hidden):
            found.setdefault(task, []).append(hit)
    return found


def _metadata(
    folder: Path, fixes: Mapping[str, Fix], hidden: set[str]
) -> Iterator[tuple[str, Hit]]:
    """Wheels, archives and metadata of the distribution that is mended."""
    form = re.compile(
        r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*?)-\d[^/]*(\.dist-info|\.egg-info|\.egg|\.whl"
        r"|\.tar\.gz|\.zip)$|^(?P<bare>[A-Za-z0-9][A-Za-z0-9._-]*)\.egg-info$"
    )
    for root, folders, files in os.walk(folder):
        folders[:] = [
            name for name in folders if name != ".git" and os.path.join(root, name) not in hidden
        ]
        for entry in sorted([*folders, *files]):
            match = form.match(entry)
            if match is None:
                continue
            name = normalised(match["name"] or match["bare"])
            for task, fix in fixes.items():
                if name in fix.names:
                    yield task, Hit(str(Path(root) / entry), "the repository's own distribution")


class _Wanted:
    """The fixes that are looked for, by their windows and by single lines of them."""

    def __init__(self, fixes: Mapping[str, Fix]) -> None:
        self.fixes = fixes
        self.owners: dict[bytes, list[str]] = {}
        for task, fix in fixes.items():
            for window in fix.windows:
                self.owners.setdefault(window, []).append(task)
        self.lines = {max(window.split(b"\n"), key=len) for window in self.owners}
        """The longest line of each: short ones, as `else:`, are in every file."""

    def tasks_in(self, contents: bytes) -> set[str]:
        """Tasks of whose fix a text holds a window."""
        lines = bare_lines(contents)
        if self.lines.isdisjoint(lines):  # of nearly every file, and fast
            return set()
        seen: dict[str, set[bytes]] = {}
        for window in _windows(lines):
            for task in self.owners.get(window, ()):
                seen.setdefault(task, set()).add(window)
        return {task for task, windows in seen.items() if self._tells(task, windows)}

    def _tells(self, task: str, seen: set[bytes]) -> bool:
        """One short window of a large fix is met by chance; a copy of it has many."""
        is_short = max(map(_letters, seen)) < SURE_LETTERS
        return len(seen) > 1 or not is_short or len(self.fixes[task].windows) <= FEW_WINDOWS


def _in_file(path: Path, wanted: _Wanted) -> Iterator[tuple[str, str]]:
    try:
        if not path.is_file() or path.stat().st_size > MOST_FILE_BYTES:
            return
        with path.open("rb") as file:
            contents = file.read(HEAD_BYTES)
            if b"\0" in contents and not path.name.endswith(PACKED):
                return  # neither text nor what holds some: most of a machine, unread
            contents += file.read()
    except OSError:  # what we may not read, a box's user may not either
        return
    yield from _in_contents(path.name, contents, wanted, depth=0)


def _in_contents(
    name: str, contents: bytes, wanted: _Wanted, depth: int
) -> Iterator[tuple[str, str]]:
    if name.endswith(COMPILED):
        for task, fix in wanted.fixes.items():
            if any(one.is_in(contents) for one in fix.code):
                yield task, "a compiled file with the code of the fix"
        return
    if name.endswith(ARCHIVES) and depth < MOST_NESTED:
        for member, inner in _members(contents):
            yield from _in_contents(member, inner, wanted, depth + 1)
        return
    if name.endswith((".gz", ".tgz")) and depth < MOST_NESTED:
        contents = _unpacked(contents)
    for task in sorted(wanted.tasks_in(contents)):
        yield task, "lines of the fix"


def _members(contents: bytes) -> Iterator[tuple[str, bytes]]:
    """Files of a zip; what is broken or swells beyond the bound is left."""
    try:
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            left = 4 * MOST_FILE_BYTES
            for member in archive.infolist()[:MOST_MEMBERS]:
                if member.is_dir() or member.file_size > min(left, MOST_FILE_BYTES):
                    continue
                with archive.open(member) as file:
                    inner = file.read(MOST_FILE_BYTES)
                left -= len(inner)
                yield member.filename, inner
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, EOFError):
        return


def _unpacked(contents: bytes) -> bytes:
    """The text of a gzip, of a tar inside it too, whose members follow each other."""
    try:
        with gzip.open(io.BytesIO(contents)) as file:
            return file.read(4 * MOST_FILE_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""


def _new_code(before: Mapping[str, bytes], gold: Contents) -> Iterator[Compiled]:
    """The functions that a fix makes or changes."""
    for path, new in gold.items():
        if path.endswith(".py") and new is not None:
            old = set(bytecode(before.get(path, b"")))
            yield from (code for code in bytecode(new) if code not in old)


def bytecode(source: bytes) -> list[Compiled]:
    """Each function in a source that is long enough to be told from others; never run."""
    tree = parsed(source)
    if tree is None:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            whole = compile(tree, "fix", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []
    found, rest = [], [whole]
    while rest:
        code = rest.pop()
        rest += [part for part in code.co_consts if isinstance(part, CodeType)]
        if code is not whole and len(code.co_code) >= LEAST_CODE:
            texts = [part for part in code.co_consts if isinstance(part, str) and part.isascii()]
            names = {code.co_name, *code.co_names, *code.co_varnames, *texts}
            if sum(map(len, names)) >= LEAST_NAMES:
                found.append(Compiled(code.co_code, frozenset(name.encode() for name in names)))
    return found
