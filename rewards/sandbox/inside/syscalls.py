"""The calls of Linux that Python does not wrap, by ctypes.

Numbers and constants: the kernel's uapi headers (`asm/unistd.h`, `linux/{sched,mount,prctl}.h`).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import socket
import struct

MACHINES = ("x86_64", "aarch64")
MACHINE = platform.machine()

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000
MNT_DETACH = 2

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4
MOUNT_ATTR_NOEXEC = 8

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_RENAME_NOREPLACE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 1, 6
_CLOEXEC = 1
_CAPABILITY_VERSION_3 = 0x2008_0522

_NUMBERS = {
    "pivot_root": (155, 41),
    "capget": (125, 90),
    "capset": (126, 91),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "renameat2": (316, 276),
}
_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(name: str, *args: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    number = _NUMBERS[name][MACHINES.index(MACHINE)]
    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    return _checked(_libc.syscall(ctypes.c_long(number), *wide), name)


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` name for new ones."""
    _checked(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Enter the namespace that `descriptor` stands for."""
    _checked(_libc.setns(descriptor, kind), "setns")


def prctl(option: int, *args: int) -> None:
    """Change something about this process."""
    _checked(_libc.prctl(option, *(*args, 0, 0, 0, 0)[:4]), f"prctl {option}")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Mount a file system, or change a mount."""
    text = [os.fsencode(part) for part in (source, target, kind)]
    done = _libc.mount(*text, ctypes.c_ulong(flags), os.fsencode(data) or None)
    _checked(done, f"mount {kind or source} on {target}")


def umount(target: str, flags: int) -> None:
    """Take a mount away."""
    _checked(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root, and `old` the place where the former one stands."""
    _call("pivot_root", os.fsencode(new), os.fsencode(old))


def clone_mount(path: str, attributes: int) -> int:
    """A descriptor of a detached copy of what is mounted at `path` and below.

    Args:
        path: a file or a folder.
        attributes: MOUNT_ATTR_* set on every mount of the copy.
    """
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    descriptor = _call("open_tree", _AT_FDCWD, os.fsencode(path), flags)
    wanted = ctypes.create_string_buffer(attributes.to_bytes(8, "little") + bytes(24), 32)
    how = _AT_EMPTY_PATH | _AT_RECURSIVE
    _call("mount_setattr", descriptor, b"", how, wanted, 32)
    return descriptor


def attach_mount(descriptor: int, path: str) -> None:
    """Put a detached mount at `path`."""
    _call("move_mount", descriptor, b"", _AT_FDCWD, os.fsencode(path), _MOVE_MOUNT_F_EMPTY_PATH)


def new_mount(kind: str, source: str, attributes: int) -> int:
    """A descriptor of a file system that is mounted nowhere.

    Args:
        kind: of the file system.
        source: its device.
        attributes: MOUNT_ATTR_*.
    """
    context = _call("fsopen", kind.encode(), _CLOEXEC)
    try:
        _call("fsconfig", context, _FSCONFIG_SET_STRING, b"source", os.fsencode(source), 0)
        _call("fsconfig", context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _call("fsmount", context, _CLOEXEC, attributes)
    finally:
        os.close(context)


def rename_new(old: str, new: str) -> None:
    """Give `old` another name, which nothing has.

    Where `os.rename` would, an empty folder of that name is not replaced.

    Raises:
        FileExistsError: something has it.
    """
    names = (os.fsencode(old), os.fsencode(new))
    try:
        _call("renameat2", _AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE)
    except OSError as failure:
        if failure.errno != errno.EINVAL:  # a file system of another machine may not know how
            raise
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
        os.rename(old, new)


def raise_loopback() -> None:
    """Let what is sent to this network namespace's own addresses arrive."""
    request = bytearray(struct.pack("=16sh22x", b"lo", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("=h", request, 16)
        struct.pack_into("=h", request, 16, flags | IFF_UP)
        fcntl.ioctl(control, SIOCSIFFLAGS, request)


def _capability_header() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(_CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4), 8)


def keep_over_exec(*capabilities: int) -> None:
    """Let the next program that this process executes have `capabilities` too, and no others."""
    header = _capability_header()
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; low, then high
    _call("capget", header, sets)
    fields = bytearray(sets.raw)
    fields[8:12] = sum(1 << capability for capability in capabilities).to_bytes(4, "little")
    _call("capset", header, ctypes.create_string_buffer(bytes(fields), 24))
    for capability in capabilities:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def drop_capabilities() -> None:
    """Give up every capability, and the right to regain one."""
    for capability in range(64):
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # past the last one that this kernel knows
    _call("capset", _capability_header(), ctypes.create_string_buffer(24))
    prctl(PR_SET_NO_NEW_PRIVS, 1)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def filter_calls(instructions: bytes) -> None:
    """Load a seccomp filter (classic BPF) for this process and all that it starts."""
    program = _Program(len(instructions) // 8, instructions)
    prctl(PR_SET_SECCOMP, 2, ctypes.addressof(program))
