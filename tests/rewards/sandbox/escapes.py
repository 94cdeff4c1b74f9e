"""Attempts to get out of a sandbox, as data, and the words that they are written in.

Each is the body of a Python function `attempt()`. It returns what it got hold of; nothing, an
`OSError` or a `MemoryError` mean that the sandbox held. The program that is made of it prints which
of the two it was, so an attempt that breaks for another reason is seen to have proved nothing.

No attempt knows the secrets that it looks for, only their digests: it cannot find what it brought.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from munro.rewards.sandbox import Limits, Outcome

QUICK = Limits(
    cpu_s=4, wall_s=8, memory_mb=96, processes=16, open_files=64, output_bytes=1 << 16, disk_mb=8
)
"""Of an attempt that names none."""

SECRET = "munro-secret-{}"
"""Followed by 32 hexadecimal digits, other ones in every test run."""

Host = Mapping[str, Any]
"""What an attacker may know of the machine outside; `tests...hosts` makes it."""

PRELUDE = r'''
import ctypes, errno, hashlib, os, re, signal, socket, stat, struct, subprocess, sys, time

libc = ctypes.CDLL(None, use_errno=True)
ATTEMPTED = []

def call(result):
    """Of a C function that says -1 when it was refused."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

def system(number, *arguments):
    """A system call by its number."""
    ctypes.set_errno(0)
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return call(libc.syscall(ctypes.c_long(number), *words))

def any_of(tries):
    """What the first of these calls that is not refused gives."""
    for one in tries:
        try:
            got = one()
        except (OSError, ValueError):
            continue
        if got not in (None, False, b"", ""):
            return repr(got)[:200]

def secret_in(data):
    """A secret of the host in there."""
    for found in re.findall(rb"munro-secret-[0-9a-f]{32}", data):
        if hashlib.sha256(found).hexdigest() in HOST["digests"]:
            return found.decode()

def read(path, size=1 << 20):
    with open(path, "rb") as file:
        return file.read(size)

def others():
    """Processes to be seen beside this one."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if pid != os.getpid()]

def walk(top, most=4000):
    """Paths below, but what a system or the kernel brings with it."""
    return deep(top, most, ("/proc", "/sys", "/usr", "/lib", "/lib64", "/bin", "/sbin"))

def deep(top, most=30000, skip=()):
    """Paths below, without following links."""
    heap = [top]
    while heap and most > 0:
        try:
            entries = list(os.scandir(heap.pop()))
        except OSError:
            continue
        for entry in entries:
            most -= 1
            yield entry
            if entry.path not in skip and entry.is_dir(follow_symlinks=False):
                heap.append(entry.path)

def in_child(act, seconds=3):
    """What a fork of this process gets (as text), so that it alone pays for it."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(theirs, repr(act() or "").encode()[:400])
        except OSError as failure:
            pass
        finally:
            os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    got = os.read(ours, 400)
    os.close(ours)
    return got not in (b"", b"''") and got.decode()
'''

ENDING = r"""
sys.stdout.flush()
try:
    got = attempt()
except (OSError, MemoryError) as failure:
    got, why = None, type(failure).__name__ + " " + str(failure)
else:
    why = "nothing was to be had"
try:
    os.write(1, ("ESCAPED " + str(got) if got else "HELD " + why).encode()[:400] + b"\n")
except OSError:
    pass  # it closed its output
os._exit(STATUS)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One way out, and how it would show that it was one."""

    name: str
    tries: str
    """In a few words."""
    program: str
    """Body of `attempt()`."""
    bites: str = ""
    """Without a sandbox it succeeds, as "anyone", "root" or "nobody" (never root); "warm": on an
    interpreter that serves one run after another; empty where that would harm the machine, or
    needs what a machine may lack."""
    breaks: bool = False
    """It is after the sandbox itself: that a run has no outcome is its success."""
    limits: Limits = QUICK
    want: tuple[str, ...] = ()
    then: str = ""
    """Body of an attempt of a later run, which looks for what this one left."""
    status: int = 7
    """What it exits with, whatever it got; another one in the outcome is a forged verdict."""
    shows: Callable[[Outcome, Host], object] = field(default=lambda outcome, host: None)
    """What the host sees of a success, beside what the program prints."""


def source(body: str, host: Host, status: int) -> str:
    """The whole program."""
    known = {name: value for name, value in host.items() if not name.startswith("_")}
    return "\n".join(
        [
            f"HOST = {known!r}\nSTATUS = {status}",
            PRELUDE,
            "def attempt():",
            textwrap.indent(textwrap.dedent(body).strip("\n"), "    "),
            ENDING,
        ]
    )


def leaked(data: bytes, host: Host) -> str:
    """A secret of the host in what came back."""
    found = re.findall(rb"munro-secret-[0-9a-f]{32}", data)
    digests = {hashlib.sha256(one).hexdigest(): one.decode() for one in found}
    return next((text for digest, text in digests.items() if digest in host["digests"]), "")
