"""Builds what a sandbox sees of the machine, enters its namespaces, and starts the template there.

The root is a small file system in memory, read-only, with read-only views of /usr and of what else
a language needs. It is built with the rights of the caller: as root, or in a user namespace of an
ordinary user. Then this process enters the outer namespaces, in which user 65534 is the only one,
and a child becomes the template. That child is process 1 of its pid namespace: when it ends, the
kernel ends every run with it. It ends when the caller's socket closes, or when this process dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import stat
from pathlib import Path

from munro.rewards.sandbox.inside import syscalls as sys_
from munro.rewards.sandbox.inside import wire

NOBODY = 65534
MODULES = ("syscalls", "seccomp", "wire", "files", "place", "program", "keeper", "template")
"""Of this folder, in the order of their imports: what the template is made of."""
LINK, PLAN = 3, 4
"""Descriptors that the template starts with."""
BOOT = """
import json, sys, types
with open(4, "rb") as file:
    plan = json.load(file)
parent = None
for name in ("munro", "munro.rewards", "munro.rewards.sandbox", "munro.rewards.sandbox.inside"):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = []
for name, source in plan.pop("modules"):
    module = types.ModuleType(f"{package.__name__}.{name}")
    sys.modules[module.__name__] = module
    setattr(package, name, module)
    exec(compile(source, f"<{name}>", "exec", dont_inherit=True), module.__dict__)
module.main(plan)
"""

SYSTEM_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
DEVICES = ("null", "zero", "full", "random", "urandom")
LINKS = {
    "dev/fd": "/proc/self/fd",
    "dev/stdin": "/proc/self/fd/0",
    "dev/stdout": "/proc/self/fd/1",
    "dev/stderr": "/proc/self/fd/2",
    "dev/shm": "/tmp",
}
ETC = {
    "passwd": "nobody:x:65534:65534:nobody:/tmp/work:/bin/sh\n",
    "group": "nogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
ETC_COPIED = ("ld.so.cache", "localtime", "alternatives", "java-*", "openjdk*", "mono")


def main() -> None:
    """Started by `munro.rewards.sandbox.namespaces`: one plan comes in over standard input."""
    sys_.prctl(sys_.PR_SET_PDEATHSIG, signal.SIGKILL)
    link = socket.socket(fileno=os.dup(0))
    plan, _, _ = wire.receive(link)
    if os.getppid() != plan["parent"]:
        return  # it died before the signal was asked for
    try:
        enter(plan["mounts"], plan["masks"])
        template = os.fork()
        if template == 0:
            _become_template(plan, link)
    except OSError as failure:
        wire.send(link, {"fatal": str(failure)})
        return
    link.close()
    os.waitpid(template, 0)


def enter(mounts: list[list[str]], masks: list[str]) -> None:
    """Build the root and enter the outer namespaces, pid namespace for the next child included.

    Args:
        mounts: (host path, place inside) of what is visible beside the system's own folders.
        masks: places inside that are to be empty.
    """
    isolation = (
        sys_.CLONE_NEWPID
        | sys_.CLONE_NEWNET
        | sys_.CLONE_NEWIPC
        | sys_.CLONE_NEWUTS
        | sys_.CLONE_NEWCGROUP
    )
    if os.geteuid() == 0:
        sys_.unshare(sys_.CLONE_NEWNS)
        build_root(mounts, masks)
        os.setgroups([])
        _unshare_as_nobody(isolation | sys_.CLONE_NEWNS)
    else:
        user, group = os.geteuid(), os.getegid()
        sys_.unshare(sys_.CLONE_NEWUSER | sys_.CLONE_NEWNS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")
        build_root(mounts, masks)
        sys_.unshare(isolation)
    # a change of credentials forgets it
    sys_.prctl(sys_.PR_SET_PDEATHSIG, signal.SIGKILL)


def _unshare_as_nobody(flags: int) -> None:
    """As root: a user namespace whose only user is the machine's own nobody, and the rest."""
    mine, theirs = socket.socketpair()
    helper = os.fork()  # only a process outside may map a user that is not its own
    if helper == 0:
        mine.close()
        status = 1
        try:
            if theirs.recv(1):
                for name in ("uid_map", "gid_map"):
                    Path(f"/proc/{os.getppid()}/{name}").write_text(f"{NOBODY} {NOBODY} 1")
                status = 0
        finally:
            os._exit(status)
    theirs.close()
    sys_.unshare(flags | sys_.CLONE_NEWUSER)
    mine.send(b"!")
    _, status = os.waitpid(helper, 0)
    if status:
        raise OSError(1, "the users of the namespace could not be mapped")
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def build_root(mounts: list[list[str]], masks: list[str]) -> None:
    """Make the caller's mount namespace consist of the sandbox's root and nothing else."""
    sys_.mount("none", "/", "", sys_.MS_REC | sys_.MS_PRIVATE)
    closed = sys_.MOUNT_ATTR_RDONLY | sys_.MOUNT_ATTR_NOSUID
    wanted = [(Path(source), place.lstrip("/")) for source, place in mounts]
    wanted.append((Path("/usr"), "usr"))
    wanted += [(Path("/", name), name) for name in SYSTEM_FOLDERS if _is_folder(Path("/", name))]
    # descriptors first: the new root hides /tmp, and what is wanted may lie there
    clones = [
        (sys_.clone_mount(str(source), closed | sys_.MOUNT_ATTR_NODEV), place, source.is_dir())
        for source, place in sorted(wanted, key=lambda pair: pair[1])
    ]
    clones += [
        (sys_.clone_mount(f"/dev/{name}", closed | sys_.MOUNT_ATTR_NOEXEC), f"dev/{name}", False)
        for name in DEVICES
    ]
    # the kernel lets an inner /proc be mounted only where an outer one can be seen
    clones.append((sys_.clone_mount("/proc", 0), "proc", True))
    links = {
        name: os.readlink(f"/{name}") for name in SYSTEM_FOLDERS if Path("/", name).is_symlink()
    }
    etc = _read_etc()

    new = "/tmp"
    sys_.mount("root", new, "tmpfs", sys_.MS_NOSUID | sys_.MS_NODEV, "mode=755,size=16m")
    for folder in ("etc", "tmp", "proc", "dev", "opt", "opt/image"):
        Path(new, folder).mkdir(mode=0o755)
    _write_etc(Path(new, "etc"), etc)
    for name, target in {**links, **LINKS}.items():
        Path(new, name).symlink_to(target)
    for clone, place, is_folder in clones:
        where = Path(new, place)
        where.parent.mkdir(parents=True, exist_ok=True)
        if is_folder:
            where.mkdir(exist_ok=True)
        else:
            where.touch()
        sys_.attach_mount(clone, str(where))
        os.close(clone)
    os.chdir(new)
    sys_.pivot_root(".", ".")
    sys_.umount(".", sys_.MNT_DETACH)
    os.chdir("/")
    hidden = sys_.MS_RDONLY | sys_.MS_NOSUID | sys_.MS_NODEV | sys_.MS_NOEXEC
    for mask in masks:
        sys_.mount("none", mask, "tmpfs", hidden, "mode=755,nr_inodes=2,size=4k")
    readonly = sys_.MS_REMOUNT | sys_.MS_BIND | sys_.MS_RDONLY | sys_.MS_NOSUID | sys_.MS_NODEV
    sys_.mount("none", "/", "", readonly)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


Entry = bytes | str
"""A file's bytes, or a link's target."""


def _read_etc() -> dict[str, Entry]:
    """What is copied from /etc, by path below it: links, and files that anyone may read."""
    found: dict[str, Entry] = {}
    for pattern in ETC_COPIED:
        for top in Path("/etc").glob(pattern):
            for path in [top, *top.rglob("*")] if _is_folder(top) else [top]:
                name = str(path.relative_to("/etc"))
                if path.is_symlink() and path != Path("/etc/localtime"):
                    found[name] = os.readlink(path)
                elif path.is_file() and path.stat().st_mode & stat.S_IROTH:
                    found[name] = path.read_bytes()
    return found


def _write_etc(folder: Path, entries: dict[str, Entry]) -> None:
    for name, text in ETC.items():
        (folder / name).write_text(text)
    for name, entry in entries.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(entry, str):
            path.symlink_to(entry)
        else:
            path.write_bytes(entry)


def _become_template(plan: wire.Head, link: socket.socket) -> None:
    """Execute the interpreter that is inside, with our source as text and the socket."""
    memory = os.memfd_create("plan")
    with open(memory, "wb", closefd=False) as file:
        file.write(json.dumps(plan).encode("ascii"))
    os.lseek(memory, 0, os.SEEK_SET)
    spare = PLAN + 1  # neither source may lie where the other goes
    for source, place in ((link.fileno(), spare + 1), (memory, spare + 2)):
        os.dup2(fcntl.fcntl(source, fcntl.F_DUPFD, spare + 3), place)
    os.dup2(spare + 1, LINK)
    os.dup2(spare + 2, PLAN)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    os.closerange(PLAN + 1, 1 << 16)
    os.umask(0o022)
    # an overlay does its work with the rights of who mounted it, in folders shut to everybody
    sys_.keep_over_exec(sys_.CAP_SYS_ADMIN, sys_.CAP_DAC_OVERRIDE, sys_.CAP_NET_ADMIN)
    os.execve(plan["python"], ["python3", "-I", "-S", "-B", "-c", BOOT], plan["environment"])
