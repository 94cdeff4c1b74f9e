"""Room on disk for what a session writes, where it is too much for memory.

    mount = new_disk(store, size_mb=20_000, inodes=500_000)     # a descriptor of a file system

It is a file system of exactly that size in a sparse file that has no name, on a loop device that
goes with it. Nothing of it is mounted anywhere but in the session: when the last descriptor is
closed, however that came about, all of it is gone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import struct
import subprocess
import tempfile
from pathlib import Path

from munro.rewards.errors import SandboxError
from munro.rewards.sandbox.inside import syscalls

ON_DISK_MB = 2048
"""MiB of `Limits.disk_mb` beyond which a session with an image writes to disk."""
NOBODY = 65534
MORE_INODES = 64
"""For the file system itself."""
_GET_FREE, _CONFIGURE, _AUTOCLEAR, _MAJOR = 0x4C82, 0x4C0A, 4, 7
_CONFIG = struct.Struct("=II 5Q 4I 64s 64s 32s 2Q 8Q")
"""`struct loop_config` of the kernel: file, block size, `struct loop_info64`, reserve."""
_TRIES = 16
"""Others look for a free device too."""


def new_disk(folder: Path, size_mb: int, inodes: int) -> int:
    """A descriptor of a detached mount, whose top belongs to the sandbox's user.

    Args:
        folder: where the file without a name lies.

    Raises:
        SandboxError: it cannot be had; says what is missing.
    """
    asks = f"disk_mb = {size_mb}: sessions write more than {ON_DISK_MB} MiB to disk"
    if os.geteuid():
        raise SandboxError(f"{asks}, which only root can have: ask for less, or run as root")
    maker = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if maker is None:
        raise SandboxError(f"{asks}, which needs mkfs.ext4: apt-get install e2fsprogs")
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            own = 256 * (inodes + MORE_INODES) + (size_mb << 20) // 64 + (1 << 20)
            os.ftruncate(file.fileno(), (size_mb << 20) + own)
            _format(maker, file.fileno(), inodes)
            return _mounted(file.fileno())
    except OSError as failure:
        raise SandboxError(f"{asks}, and this machine gives none: {failure}") from failure


def _format(maker: str, file: int, inodes: int) -> None:
    done = subprocess.run(
        [
            maker, "-q", "-F", "-b", "4096", "-O", "^has_journal,^resize_inode", "-m", "0", "-E",
            f"root_owner={NOBODY}:{NOBODY},nodiscard,lazy_itable_init=1",
            "-N", str(inodes + MORE_INODES), f"/proc/self/fd/{file}",
        ],
        pass_fds=(file,),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise OSError(done.returncode, (done.stderr.strip().splitlines() or ["mkfs.ext4"])[-1])


def _mounted(file: int) -> int:
    device, path = _loop(file)
    try:
        return syscalls.new_mount(
            "ext4", path, syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
        )
    finally:
        os.close(device)


def _loop(file: int) -> tuple[int, str]:
    """A loop device over the file, open, that lets it go when nobody has the device any more."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for number in range(_TRIES):
            free = fcntl.ioctl(control, _GET_FREE)
            path = f"/dev/loop{free}"
            if not os.path.exists(path):
                os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(_MAJOR, free))
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            nothing = bytes(64)
            config = _CONFIG.pack(
                file, 0, *[0] * 5, 0, 0, 0, _AUTOCLEAR, nothing, nothing, bytes(32), *[0] * 10
            )
            try:
                fcntl.ioctl(device, _CONFIGURE, config)
            except OSError:
                os.close(device)
                if number == _TRIES - 1:
                    raise
                continue
            return device, path
    finally:
        os.close(control)
    raise AssertionError("unreachable")
