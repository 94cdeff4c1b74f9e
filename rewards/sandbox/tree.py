"""Folder trees that hostile programs made: walked by descriptors, copied as data, named by digest.

Nothing here follows a link, opens what is no regular file or folder, or trusts a name. A tree is
walked from an open folder, one open folder a level, so that whatever is renamed meanwhile leads
nowhere else. What overlays keep in a tree (a device 0/0 where a file was deleted, an attribute on a
folder that hides what is below it) is read as what it means.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

OPAQUE = "user.overlay.opaque"
MODES = 0o1777
"""Of a mode, what a tree keeps: a file that runs as its owner is nobody's business outside."""
MOST_DEEP = 256
"""Folders within folders; one descriptor each."""
BLOCK = 1 << 16
_ZEROS = bytes(BLOCK)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Kind(StrEnum):
    """What stands at a path of a tree."""

    FOLDER = "folder"
    FILE = "file"
    LINK = "link"
    DELETED = "deleted"
    OTHER = "other"
    """A device, a FIFO, a socket; or what lies too deep to be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One path of a tree, while its walk stands there."""

    path: bytes
    """Below the top."""
    kind: Kind
    status: os.stat_result
    parent: int
    """Descriptor of the folder that it is in; open until the walk goes on."""
    is_opaque: bool = False
    """A folder that hides what lower layers have there."""

    @property
    def name(self) -> bytes:
        return self.path.rpartition(b"/")[2]

    @property
    def mode(self) -> int:
        return stat.S_IMODE(self.status.st_mode)


def walk(top: int) -> Iterator[Node]:
    """All below the open folder `top`, folders before what is in them, names in order."""
    yield from _walk(top, b"", 1)


def _walk(here: int, path: bytes, depth: int) -> Iterator[Node]:
    for name in sorted(map(os.fsencode, os.listdir(here))):
        try:
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
        except FileNotFoundError:
            continue
        below = b"%s/%s" % (path, name) if path else name
        kind = kind_of(status)
        if kind is not Kind.FOLDER:
            yield Node(path=below, kind=kind, status=status, parent=here)
            continue
        if depth >= MOST_DEEP:
            yield Node(path=below, kind=Kind.OTHER, status=status, parent=here)
            continue
        with _readable(here, name, status.st_mode, 0o500):
            folder = os.open(name, _FOLDER, dir_fd=here)
            try:
                opaque = is_opaque(folder)
                yield Node(path=below, kind=kind, status=status, parent=here, is_opaque=opaque)
                yield from _walk(folder, below, depth + 1)
            finally:
                os.close(folder)


def kind_of(status: os.stat_result) -> Kind:
    """What a status tells."""
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        return Kind.FOLDER
    if stat.S_ISREG(mode):
        return Kind.FILE
    if stat.S_ISLNK(mode):
        return Kind.LINK
    return Kind.DELETED if stat.S_ISCHR(mode) and status.st_rdev == 0 else Kind.OTHER


def is_opaque(folder: int) -> bool:
    """Whether an overlay hides what lower layers have in there."""
    try:
        return os.getxattr(folder, OPAQUE) == b"y"
    except OSError:
        return False


@contextmanager
def _readable(within: int, name: bytes, mode: int, needed: int) -> Iterator[None]:
    """An owner's leave to read what he has shut to himself, for as long as this lasts."""
    mode = stat.S_IMODE(mode)
    if mode & needed == needed or os.geteuid() == 0:
        yield
        return
    os.chmod(name, mode | needed, dir_fd=within)
    try:
        yield
    finally:
        os.chmod(name, mode, dir_fd=within)


def open_file(node: Node) -> int:
    """A descriptor of a regular file, to be closed by the caller.

    Raises:
        OSError: it is none any more.
    """
    with _readable(node.parent, node.name, node.status.st_mode, 0o400):
        file = os.open(node.name, _FILE, dir_fd=node.parent)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "no regular file any more", os.fsdecode(node.path))
    return file


def target_of(node: Node) -> bytes:
    """Where a link leads."""
    return os.readlink(node.name, dir_fd=node.parent)


def blocks_of(file: int, size: int) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of an open file up to `size`, without the blocks that hold zeros alone."""
    at = 0
    while at < size:
        with suppress(OSError):  # a file system without holes has none
            try:
                at = os.lseek(file, at, os.SEEK_DATA) // BLOCK * BLOCK
            except OSError as failure:
                if failure.errno == errno.ENXIO:
                    return  # nothing but a hole is left
                raise
        block = os.pread(file, min(BLOCK, size - at), at)
        if not block:
            return
        if block != _ZEROS[: len(block)]:
            yield at, block
        at += len(block)


@dataclass
class Writer:
    """Makes a tree below an open folder that is nobody else's, and its digest."""

    top: int
    owner: int | None = None
    """User and group that all of it is to belong to; None leaves them."""
    salt: str = ""
    """Goes into the digest, where nobody else's tree is to have the same."""
    _lines: list[tuple[bytes, bytes]] = field(default_factory=list)
    _folders: list[tuple[bytes, int, int | None]] = field(default_factory=list)
    _first: dict[tuple[int, int], tuple[bytes, bytes]] = field(default_factory=dict)

    def folder(self, path: bytes, mode: int, mtime_ns: int | None, *, is_opaque: bool) -> None:
        """A folder; its mode and time are set in the end, when it is full."""
        os.mkdir(path, 0o700, dir_fd=self.top)
        if is_opaque:
            folder = os.open(path, _FOLDER, dir_fd=self.top)
            try:
                os.setxattr(folder, OPAQUE, b"y")
            finally:
                os.close(folder)
        self._folders.append((path, mode & MODES, mtime_ns))
        self._note(path, "folder", mode & MODES, b"opaque" if is_opaque else b"")

    def file(
        self,
        path: bytes,
        mode: int,
        mtime_ns: int | None,
        size: int,
        blocks: Iterable[tuple[int, bytes]],
    ) -> None:
        """A regular file; what no block covers is zero."""
        said = hashlib.sha256(b"%d\n" % size)
        file = os.open(path, _NEW, 0o600, dir_fd=self.top)
        try:
            for at, block in blocks:
                said.update(b"%d %d\n" % (at, len(block)))
                said.update(block)
                while block:
                    written = os.pwrite(file, block, at)
                    at, block = at + written, block[written:]
            os.ftruncate(file, size)
            self._own(file)
            os.fchmod(file, mode & MODES)
            if mtime_ns is not None:
                os.utime(file, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(file)
        self._note(path, "file", mode & MODES, said.digest())

    def link(self, path: bytes, target: bytes) -> None:
        """A symbolic link, wherever it leads."""
        os.symlink(target, path, dir_fd=self.top)
        if self.owner is not None:
            os.chown(path, self.owner, self.owner, dir_fd=self.top, follow_symlinks=False)
        self._note(path, "link", 0, target)

    def deleted(self, path: bytes) -> None:
        """That lower layers have nothing there."""
        os.mknod(path, stat.S_IFCHR, 0, dir_fd=self.top)
        self._note(path, "deleted", 0, b"")

    def again(self, path: bytes, key: tuple[int, int]) -> bool:
        """Another name of a file that was written under `key`; whether there was one."""
        if key not in self._first:
            return False
        first, said = self._first[key]
        os.link(first, path, src_dir_fd=self.top, dst_dir_fd=self.top, follow_symlinks=False)
        self._lines.append((path, said))
        return True

    def remember(self, path: bytes, key: tuple[int, int]) -> None:
        """The file just written may have other names."""
        self._first[key] = (path, self._lines[-1][1])

    def _own(self, file: int) -> None:
        if self.owner is not None:
            os.fchown(file, self.owner, self.owner)

    def _note(self, path: bytes, kind: str, mode: int, said: bytes) -> None:
        self._lines.append((path, b"%s %o %s" % (kind.encode(), mode, said.hex().encode())))

    def finish(self) -> str:
        """Shut the folders; the digest of all that was written, whatever its order."""
        for path, mode, mtime_ns in reversed(self._folders):
            folder = os.open(path, _FOLDER, dir_fd=self.top)
            try:
                self._own(folder)
                os.fchmod(folder, mode)
                if mtime_ns is not None:
                    os.utime(folder, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(folder)
        self._own(self.top)
        os.fchmod(self.top, 0o755)
        whole = hashlib.sha256(self.salt.encode())
        for path, said in sorted(self._lines):
            whole.update(b"%d %s %s\n" % (len(path), path, said))
        return whole.hexdigest()


def remove(path: Path) -> None:
    """Take a tree away that is ours, also where its folders are shut to us."""
    top = os.open(path, _FOLDER)
    try:
        _empty(top)
    finally:
        os.close(top)
    path.rmdir()


def _empty(here: int) -> None:
    for name in os.listdir(here):
        if not stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=here)
            continue
        os.chmod(name, 0o700, dir_fd=here)
        below = os.open(name, _FOLDER, dir_fd=here)
        try:
            _empty(below)
        finally:
            os.close(below)
        os.rmdir(name, dir_fd=here)
