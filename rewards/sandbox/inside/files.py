"""Files in and out of the working directory, never through a link. Only while no program runs.

What an earlier program of a session left in the way (a link, a folder that nobody may enter) is
moved aside: it can make our files neither go elsewhere nor fail to be written.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack, suppress

TEMPORARY = "/tmp"
WORK = "/tmp/work"
"""The working directory; "/" where the image of a session is its root (`be_at_root`)."""
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_proc = -1
_rooms: list[tuple[int, int]] = []
"""Of each file system that a run writes to a descriptor, and the blocks at which it is full."""


def be_at_root() -> None:
    """From now on the working directory is the root."""
    global WORK
    WORK = "/"


def hold_proc() -> None:
    """Have /proc from now on, also where a program that owns the root shuts the way to it."""
    global _proc
    _proc = os.open("/proc", _FOLDER)


def numbers() -> list[str]:
    """Of all processes."""
    return [name for name in os.listdir(_proc) if name.isdigit()]


def in_proc(path: str, flags: int) -> int:
    """Open what is below /proc."""
    return os.open(path, flags | os.O_CLOEXEC, dir_fd=_proc)


def hold_room(path: str, rest: int = 0) -> None:
    """A run writes to what is mounted there, whatever path leads to it later.

    Args:
        rest: blocks that may be free where nothing can be written any more.
    """
    _rooms.append((os.open(path, _FOLDER), rest))


def full() -> str | None:
    """What of the room for files is used up."""
    for room, rest in _rooms:
        disk = os.fstatvfs(room)
        if disk.f_favail == 0:
            return "inodes"
        if disk.f_bavail <= rest:
            return "disk"
    return None


def put(files: Sequence[tuple[bytes, bytes]]) -> None:
    """Write (path, contents) below the working directory, which is made one again if it is none.

    Raises:
        OSError: the disk is full.
    """
    with ExitStack() as stack:
        if WORK == "/":
            os.chmod(WORK, 0o755)
            work = _open(stack, WORK)
        else:
            os.chmod(TEMPORARY, 0o1777)
            work = _make(stack, _open(stack, TEMPORARY), b"work")
        for path, contents in files:
            *folders, name = _parts(path)
            here = work
            for part in folders:
                here = _make(stack, here, part)
            _clear(here, name)
            file = os.open(name, _NEW, 0o755, dir_fd=here)
            try:
                rest = memoryview(contents)
                while rest:
                    rest = rest[os.write(file, rest) :]
            finally:
                os.close(file)


def get(paths: Sequence[bytes], most_bytes: int) -> tuple[list[tuple[bytes, bytes]], bool]:
    """The regular files among `paths`, and whether one was left out for its size.

    Args:
        most_bytes: of all of them together; a file with holes may claim to be of any size.
    """
    found, is_cut = [], False
    for path in paths:
        contents = _read(path, most_bytes)
        if contents is None:
            continue
        if len(contents) > most_bytes:
            is_cut = True
            continue
        most_bytes -= len(contents)
        found.append((path, contents))
    return found, is_cut


def look(path: bytes, most_bytes: int, depth: int) -> tuple[str, int, int, list[bytes], bytes]:
    """What stands at `path`: kind, mode, size, and of a folder what is below it, of a file bytes.

    Args:
        path: below the working directory; empty for that itself.
        most_bytes: of a file, and of the names of a folder together.
        depth: of a folder, how far down.

    Returns:
        A kind of "missing", "file", "folder", "link" or "other"; the others are empty where they
        say nothing. A name ends with a slash where it is a folder's.
    """
    with ExitStack() as stack:
        try:
            here, name = _parent(stack, path)
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                return "link", mode, 0, [], os.readlink(name, dir_fd=here)[:most_bytes]
            if stat.S_ISDIR(status.st_mode):
                return "folder", mode, 0, _names(stack, here, name, most_bytes, depth), b""
            if not stat.S_ISREG(status.st_mode):
                return "other", mode, 0, [], b""
            file = os.open(name, _FILE, dir_fd=here)
        except (FileNotFoundError, NotADirectoryError):
            return "missing", 0, 0, [], b""
        except OSError:
            return "other", 0, 0, [], b""  # shut, or behind a link
        stack.callback(os.close, file)
        with open(file, "rb", closefd=False) as stream:
            return "file", mode, status.st_size, [], stream.read(most_bytes)


def write(path: bytes, contents: bytes | None) -> str:
    """Put `contents` at `path`, or take away what is there; why it cannot be done, or nothing.

    A file that is there keeps its mode. Folders down to it are made. Nothing but a regular file is
    replaced or removed, and no link is followed.
    """
    with ExitStack() as stack:
        try:
            here = _open(stack, WORK)
            for part in _parts(path)[:-1]:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=here)
                here = _open(stack, part, here)
            name, mode = _parts(path)[-1], 0o644
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=here, follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    return "it is no regular file"
                mode = stat.S_IMODE(status.st_mode)
            if contents is None:
                os.unlink(name, dir_fd=here)
                return ""
            # beside it and then over it: what is there is whole, whatever becomes of this
            fresh = b".new-" + os.urandom(8).hex().encode()
            _fill(here, fresh, contents, mode)
            os.rename(fresh, name, src_dir_fd=here, dst_dir_fd=here)
        except OSError as failure:
            return os.strerror(failure.errno or 0)
    return ""


def _fill(here: int, name: bytes, contents: bytes, mode: int) -> None:
    file = os.open(name, _NEW, 0o600, dir_fd=here)
    try:
        rest = memoryview(contents)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fchmod(file, mode)
    except OSError:
        os.unlink(name, dir_fd=here)
        raise
    finally:
        os.close(file)


def _parent(stack: ExitStack, path: bytes) -> tuple[int, bytes]:
    """The folder that `path` is in, and its name there."""
    parts = _parts(path)
    if not parts:
        above, name = os.path.split(WORK)
        return _open(stack, above), os.fsencode(name or ".")
    here = _open(stack, WORK)
    for part in parts[:-1]:
        try:
            here = _open(stack, part, here)
        except NotADirectoryError:
            if stat.S_ISLNK(os.stat(part, dir_fd=here, follow_symlinks=False).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
            raise
    return here, parts[-1]


def _names(stack: ExitStack, here: int, name: bytes, most_bytes: int, depth: int) -> list[bytes]:
    """What is below a folder, but what begins with a dot; as many as `most_bytes` holds."""
    found: list[bytes] = []
    _list(_open(stack, name, here), b"", depth, most_bytes, found)
    return found


def _list(folder: int, above: bytes, depth: int, most_bytes: int, found: list[bytes]) -> int:
    """Add what is below `folder`, in order; the bytes that are left, negative where it ended."""
    for name in sorted(map(os.fsencode, os.listdir(folder))):
        if name.startswith(b"."):
            continue
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            continue
        is_folder = stat.S_ISDIR(status.st_mode)
        path = above + name + b"/" * is_folder
        most_bytes -= len(path) + 1
        if most_bytes < 0:
            return most_bytes
        found.append(path)
        if is_folder and depth > 1:
            with suppress(OSError), ExitStack() as stack:  # one that is shut is not looked into
                most_bytes = _list(_open(stack, name, folder), path, depth - 1, most_bytes, found)
            if most_bytes < 0:
                return most_bytes
    return most_bytes


def _read(path: bytes, most_bytes: int) -> bytes | None:
    """Up to one byte more than `most_bytes`; None where there is no such regular file."""
    with ExitStack() as stack:
        try:
            here, name = _parent(stack, path)
            file = os.open(name, _FILE, dir_fd=here)
        except OSError:
            return None
        stack.callback(os.close, file)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        with open(file, "rb", closefd=False) as stream:
            return stream.read(most_bytes + 1)


def _parts(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def _open(stack: ExitStack, name: str | bytes, within: int | None = None) -> int:
    """A folder, open until the stack is left."""
    descriptor = os.open(name, _FOLDER, dir_fd=within)
    stack.callback(os.close, descriptor)
    return descriptor


def _make(stack: ExitStack, here: int, name: bytes) -> int:
    """The folder `name` in `here`: the one that is there, or a new one."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(name, dir_fd=here).st_mode):
            os.chmod(name, 0o755, dir_fd=here)
        else:
            os.unlink(name, dir_fd=here)
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=here)
    return _open(stack, name, here)


def _clear(here: int, name: bytes) -> None:
    """Let nothing stand at `name` in `here`."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(name, dir_fd=here).st_mode):
            # not emptied: that could take for ever
            os.rename(
                name, b".was-" + os.urandom(8).hex().encode(), src_dir_fd=here, dst_dir_fd=here
            )
        else:
            os.unlink(name, dir_fd=here)
