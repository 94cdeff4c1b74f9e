"""The file systems of one run: /tmp in memory, /proc, and what an image shows.

    /tmp             in memory, `disk_mb`; what the sandbox keeps at /tmp/store and /tmp/shown is
                     under it from then on, where no path leads
    /tmp/work        the working directory; of an image, its layers with the run's own folder on top
    /opt/image/0 ..  an image's packages, read-only

An image that is the root stands in the place of all of it: a run writes wherever the system has no
folder of its own, and /tmp is a folder like others.

The folder that takes what a run writes over its image is in the same memory as /tmp and below no
path of it: only who has a descriptor of it can read it.
"""

from __future__ import annotations

import errno
import os
import shutil
from typing import Any

from munro.rewards.sandbox.inside import files, syscalls

STORE = "/tmp/store"
SHOWN = "/tmp/shown"
PACKAGES = "/opt/image"
QUIET = syscalls.MS_NOSUID | syscalls.MS_NODEV
_PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make(room: dict[str, Any], disk: int = -1) -> int | None:
    """Mount all of it, in a mount namespace that is this run's own.

    Args:
        room: `disk_mb`, `inodes`, and `image`: None, or `layers` and `packages` (digests, lowest
            layer first), `shown` (number and place of what is to be seen again) and `is_root`.
        disk: a detached mount that takes what is written over the image; else that is in memory.

    Returns:
        A descriptor of the folder that an image's session writes to.

    Raises:
        OSError: the kernel refuses, or a layer is not there.
    """
    image = room["image"]
    if image is not None:  # while they can be seen
        layers = [_open(f"{STORE}/{digest}") for digest in image["layers"]]
        packages = [_open(f"{STORE}/{digest}") for digest in image["packages"]]
        shown = [(_open(f"{SHOWN}/{number}"), place) for number, place in image["shown"]]
    size = f"size={room['disk_mb']}m,nr_inodes={room['inodes']},mode=1777"
    syscalls.mount("tmp", files.TEMPORARY, "tmpfs", QUIET, size)
    files.hold_room(files.TEMPORARY)
    syscalls.mount("proc", "/proc", "proc", QUIET | syscalls.MS_NOEXEC, "subset=pid")
    if image is None:
        return None
    for source, place in shown:
        _bind(source, place)
    if packages:
        _show_packages(packages)
    upper = _overlay(layers, disk, is_root=image["is_root"])
    if image["is_root"]:
        _become_root(f"{files.TEMPORARY}/work")
    return upper


def _overlay(layers: list[int], disk: int, *, is_root: bool) -> int:
    """The working directory: `layers` below, and above them a folder that is returned."""
    top = room = files.TEMPORARY
    if is_root:
        layers = [_system(f"{top}/system"), *layers]
    for name in ("nothing", "disk", "tmp", "tmp/work"):
        os.mkdir(f"{top}/{name}", 0o755)
    os.chmod(f"{top}/tmp", 0o1777)
    if disk >= 0:
        room = f"{top}/disk"
        syscalls.attach_mount(disk, room)
        files.hold_room(room, rest=8)
    for name in ("upper", "index"):
        os.mkdir(f"{room}/{name}", 0o755)
    upper = os.open(f"{room}/upper", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.setxattr(upper, "user.munro", b"")
        os.removexattr(upper, "user.munro")
    except OSError as failure:
        raise OSError(
            failure.errno, "this kernel's memory files keep no attributes: images need Linux 6.6"
        ) from None
    lower = ":".join(f"/proc/self/fd/{layer}" for layer in reversed(layers)) or f"{top}/nothing"
    options = f"lowerdir={lower},upperdir={room}/upper,workdir={room}/index,userxattr"
    syscalls.mount("work", f"{top}/tmp/work", "overlay", QUIET, options)
    for layer in layers:
        os.close(layer)
    # from here on the upper folder is below no path
    syscalls.mount(f"{top}/tmp", top, "", syscalls.MS_BIND | syscalls.MS_REC)
    return upper


def _system(base: str) -> int:
    """A folder with what the root holds, without what is mounted there; /etc is a copy."""
    os.mkdir(base, 0o755)
    for name in os.listdir("/"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{base}/{name}")
        elif name == "etc":
            shutil.copytree("/etc", f"{base}/etc", symlinks=True)
        else:
            os.mkdir(f"{base}/{name}", 0o755)
    for name in os.listdir("/opt"):
        os.mkdir(f"{base}/opt/{name}", 0o755)
    os.chmod(f"{base}/tmp", 0o1777)
    return _open(base)


def _become_root(work: str) -> None:
    """Have the working directory in the place of the root, with what is mounted on that.

    Raises:
        OSError: a layer has a link where the box has a folder of its own.
    """
    mounted = [name for name in os.listdir("/") if name not in ("etc", "opt", "tmp")]
    for name in sorted([*mounted, *(f"opt/{name}" for name in os.listdir("/opt"))]):
        if os.path.islink(f"/{name}"):
            continue
        if os.path.islink(f"{work}/{name}"):
            raise OSError(errno.ELOOP, "a layer has a link in the place of a system's folder", name)
        os.makedirs(f"{work}/{name}", exist_ok=True)
        _bind(_open(f"/{name}"), f"{work}/{name}")
    os.chdir(work)
    syscalls.pivot_root(".", ".")
    syscalls.umount(".", syscalls.MNT_DETACH)
    os.chdir("/")
    files.be_at_root()


def _show_packages(packages: list[int]) -> None:
    """Each at a place of its own, and on the path of Python and of programs."""
    syscalls.mount("image", PACKAGES, "tmpfs", QUIET, "size=64k,mode=755")
    places = [f"{PACKAGES}/{number}" for number in range(len(packages))]
    for source, place in zip(packages, places, strict=True):
        os.mkdir(place, 0o755)
        _bind(source, place)
    readonly = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY | QUIET
    syscalls.mount("none", PACKAGES, "", readonly)
    os.environ["PYTHONPATH"] = ":".join(places)
    programs = [f"{place}/bin" for place in places]
    os.environ["PATH"] = ":".join([*programs, os.environ["PATH"]])


def _bind(source: int, place: str) -> None:
    syscalls.mount(f"/proc/self/fd/{source}", place, "", syscalls.MS_BIND | syscalls.MS_REC)
    os.close(source)


def _open(path: str) -> int:
    return os.open(path, _PATH)
