"""The machine outside a sandbox, with something to steal, and a record of what it was like."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.rewards.sandbox.escapes import SECRET, Host

ROOT = Path(__file__).parents[3]
SPOTS = ("/", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/run", "/etc", "/root", "/home", "/opt")
WATCHED = ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/proc/sys/kernel/core_pattern",
           "/proc/sys/kernel/hostname", "/proc/self/mountinfo", "/proc/self/limits")  # fmt: skip


def fingerprint(host: Host) -> dict[str, Any]:
    """What no attempt may change."""
    contents = {}
    for path in WATCHED:
        with suppress(PermissionError, FileNotFoundError):
            lines = Path(path).read_text().splitlines()
            # engines of containers mount what they like meanwhile
            contents[path] = [x for x in lines if not re.search("nsfs|overlay|docker", x)]
    return {
        **contents,
        "planted": host["_planted"](),
        "alive": host["_alive"](),
        "heard": host["_heard"](),
        "children": sorted(child.pid for child in psutil.Process().children(recursive=True)),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "segments": _segments(host["key"]),
        "python": _listing(Path(os.__file__).parent),
        "packages": _listing(Path(psutil.__file__).parents[1]),
        "interfaces": socket.if_nameindex(),
        "groups": _groups(),
        "umask and folder": (os.getcwd(), os.getuid(), os.environ.copy()),
        "victim": psutil.Process(host["victim"]).status() != psutil.STATUS_ZOMBIE,
    }


def _listing(folder: Path) -> list[str]:
    with suppress(PermissionError):  # what we cannot read, nobody below us can change
        return sorted(os.listdir(folder))
    return []


def _segments(key: int) -> list[str]:
    """Of System V, under the key that attempts use."""
    tables = [Path("/proc/sysvipc", name).read_text().splitlines() for name in ("shm", "msg")]
    return [line for table in tables for line in table[1:] if line.split()[0] == str(key)]


def _groups() -> list[str]:
    """Control groups that a sandbox of this process may have left."""
    top = Path("/sys/fs/cgroup")
    return sorted(
        str(path)
        for path in [*top.glob("*/*munro*"), *top.glob("*munro*"), *top.glob("*/*/*munro*")]
        if f"{os.getpid()}" in path.name
    )


def _planted(folder: Path, mark: str) -> list[str]:
    """Files of that name, wherever they were put; taken away again."""
    spots = {*SPOTS, str(folder), os.path.expanduser("~"), os.getcwd()}
    found = [f"{spot}/{mark}" for spot in spots if os.path.exists(f"{spot}/{mark}")]
    for path in found:
        os.unlink(path)
    return found


def _alive(mark: str) -> list[str]:
    """Processes that carry the mark; ended."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if mark in process.cmdline():
                found.append(" ".join(process.cmdline())[:200])
                process.kill()
    return found


@contextmanager
def _listeners(stack: ExitStack, mark: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Servers of every kind; `heard` tells the packets that came in."""
    tcp = stack.enter_context(socket.create_server(("0.0.0.0", 0), backlog=64))
    udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.bind(("127.0.0.1", 0))
    udp.settimeout(0.2)
    hidden = stack.enter_context(socket.socket(socket.AF_UNIX))
    hidden.bind(f"\0{mark}-host")
    hidden.listen(64)
    file = stack.enter_context(socket.socket(socket.AF_UNIX))
    file.bind(f"{folder}/socket")
    os.chmod(f"{folder}/socket", 0o777)
    file.listen(64)

    def heard() -> list[str]:
        got = []
        with suppress(TimeoutError):
            while True:
                got.append(udp.recv(4096).decode(errors="replace"))
        return got

    addresses = {
        address.address
        for card in psutil.net_if_addrs().values()
        for address in card
        if address.family == socket.AF_INET and address.address != "127.0.0.1"
    }
    yield {
        "tcp_port": tcp.getsockname()[1],
        "udp_port": udp.getsockname()[1],
        "addresses": sorted(addresses),
        "abstract": f"{mark}-host",
        "unix_socket": f"{folder}/socket",
        "_heard": heard,
    }


@contextmanager
def host() -> Iterator[Host]:
    """A machine with secrets in files, memory, environment, descriptors, and open doors."""
    mark = f"munro-escape-{secrets.token_hex(6)}"
    digests = []

    def secret() -> str:
        text = SECRET.format(secrets.token_hex(16))
        digests.append(hashlib.sha256(text.encode()).hexdigest())
        return text

    folder = Path(tempfile.mkdtemp(prefix="munro-host-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o777)
        (folder / "secret").write_text(secret())
        (folder / "secret").chmod(0o666)
        shared = Path("/dev/shm") / f"{mark}-shared"
        shared.write_text(secret())
        stack.callback(shared.unlink)
        shared.chmod(0o666)
        opened = os.open(folder / "secret", os.O_RDWR)
        os.set_inheritable(opened, True)
        stack.callback(os.close, opened)
        os.environ["MUNRO_SECRET"] = secret()
        stack.callback(os.environ.pop, "MUNRO_SECRET")
        victim = subprocess.Popen(
            [sys.executable, "-S", "-c", "import time; time.sleep(9999)", f"{mark}-victim"]
        )
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        doors = stack.enter_context(_listeners(stack, mark, folder))
        key = int(secrets.token_hex(3), 16) | 1
        stack.callback(_remove_segments, key)
        home = Path.home()
        if not os.access(home, os.W_OK):
            home = folder / "home"
            home.mkdir()
        mine = home / f"{mark}-at-home"
        mine.write_text("mine")
        stack.callback(mine.unlink)
        yield {
            **doors,
            "digests": digests,
            "mark": mark,
            "folder": str(folder),
            "secret": str(folder / "secret"),
            "home": str(home),
            "at_home": [mine.name],
            "project_files": [str(ROOT / "rewards" / "types.py"), psutil.__file__],
            "victim": victim.pid,
            "victim_name": f"{mark}-victim",
            "node": socket.gethostname(),
            "key": key,
            "docker_socket": os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or "/none",
            "_planted": lambda: _planted(folder, mark),
            "_alive": lambda: _alive(mark),
        }


def _remove_segments(key: int) -> None:
    """What an attempt left under that key, where nothing held it."""
    libc = ctypes.CDLL(None)
    segment, queue = libc.shmget(key, 0, 0), libc.msgget(key, 0)
    if segment >= 0:
        libc.shmctl(segment, 0, None)
    if queue >= 0:
        libc.msgctl(queue, 0, None)
