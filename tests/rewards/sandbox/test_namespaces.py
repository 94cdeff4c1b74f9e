"""What is special to the back end of namespaces. The interface's own tests are beside this one."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from munro.rewards import sandbox
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Limit, Limits, cgroups, namespaces, plan
from munro.rewards.sandbox.inside import seccomp

ROOT = Path(__file__).parents[3]
ROOMY = Limits(cpu_s=30, wall_s=60, memory_mb=256)
IS_ROOT = os.geteuid() == 0


def opened(**options) -> sandbox.Sandbox:
    try:
        return sandbox.open("namespaces", ROOMY, **options)
    except SandboxError as failure:
        if IS_ROOT or "the kernel gave no sandbox" not in str(failure):
            raise
        pytest.skip(str(failure))


@pytest.fixture(scope="module")
def box() -> Iterator[sandbox.Sandbox]:
    with opened() as box:
        yield box


@functools.cache
def instructions(machine: str, **options: bool) -> list[tuple[int, ...]]:
    return list(struct.iter_unpack("=HBBI", seccomp.program(machine, **options)))


def verdict(machine: str, number: int, *arguments: int, arch: int | None = None, **options) -> int:
    """What the filter says, by a small interpreter of classic BPF."""
    steps = instructions(machine, **{"is_counted": True, **options})
    arch = seccomp.AUDIT_ARCH[machine] if arch is None else arch
    call = struct.pack("=IIQ6Q", number, arch, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    value, at = 0, 0
    while True:
        code, jump_if, jump_else, constant = steps[at]
        at += 1
        if code == seccomp.RETURN:
            return constant
        if code == seccomp.LOAD:
            (value,) = struct.unpack_from("=I", call, constant)
            continue
        if code == seccomp.AND:
            value &= constant
            continue
        holds = {
            seccomp.EQUAL: value == constant,
            seccomp.ABOVE: value > constant,
            seccomp.ANY_BIT: bool(value & constant),
        }[code]
        at += jump_if if holds else jump_else


@pytest.mark.parametrize("machine", seccomp.AUDIT_ARCH)
def test_the_filter_says_no_to_all_that_it_names_and_yes_to_the_rest(machine):
    column = list(seccomp.AUDIT_ARCH).index(machine)
    refused = seccomp.ERRNO | errno.EPERM
    for name, numbers in seccomp.DENIED.items():
        if numbers[column] >= 0:
            assert verdict(machine, numbers[column]) == refused, name
    for numbers in seccomp.UNCOUNTED.values():
        assert verdict(machine, numbers[column]) == seccomp.ALLOW
        assert verdict(machine, numbers[column], is_counted=False) == refused
    named = {
        *(numbers[column] for numbers in (seccomp.DENIED | seccomp.MISSING).values()),
        *(numbers[column] for numbers in seccomp.SOCKETS.values()),
    }
    ordinary = set(range(seccomp.NEWEST + 1)) - named
    assert {verdict(machine, number) for number in ordinary} == {seccomp.ALLOW}


@pytest.mark.parametrize("machine", seccomp.AUDIT_ARCH)
def test_the_filter_looks_at_arguments(machine):
    column = list(seccomp.AUDIT_ARCH).index(machine)
    socket, pair = (numbers[column] for numbers in seccomp.SOCKETS.values())
    clone, ioctl = seccomp.CLONE[column], seccomp.IOCTL[column]
    personality = seccomp.PERSONALITY[column]
    no = seccomp.ERRNO | errno.EPERM
    no_family = seccomp.ERRNO | errno.EAFNOSUPPORT
    assert verdict(machine, socket, 1) == verdict(machine, pair, 1) == seccomp.ALLOW
    assert {verdict(machine, socket, family) for family in (0, 2, 10, 16, 17, 40)} == {no_family}
    assert verdict(machine, socket, 1 << 32 | 2) == no_family
    assert verdict(machine, clone, signal.SIGCHLD) == seccomp.ALLOW
    assert {verdict(machine, clone, 1 << bit) for bit in (17, 25, 26, 27, 28, 29, 30)} == {no}
    assert verdict(machine, ioctl, 0, 0x5401) == seccomp.ALLOW
    assert verdict(machine, ioctl, 0, 1 << 32 | 0x5412) == no
    assert verdict(machine, personality, 0xFFFF_FFFF) == seccomp.ALLOW
    assert verdict(machine, personality, 0x4_0000) == no


@pytest.mark.parametrize("machine", seccomp.AUDIT_ARCH)
def test_with_a_loopback_the_filter_lets_tcp_and_udp_through_and_no_more(machine):
    column = list(seccomp.AUDIT_ARCH).index(machine)
    socket, pair = (numbers[column] for numbers in seccomp.SOCKETS.values())
    no_family = seccomp.ERRNO | errno.EAFNOSUPPORT
    no_protocol = seccomp.ERRNO | errno.EPROTONOSUPPORT

    def said(*arguments):
        return verdict(machine, *arguments, has_loopback=True)

    flags = 0o2000000 | 0o4000  # closed on exec, never blocking
    for family in (2, 10):
        for kind, protocol in ((1, 0), (1, 6), (2, 0), (2, 17), (1 | flags, 0)):
            assert said(socket, family, kind, protocol) == seccomp.ALLOW
        for kind, protocol in (
            (3, 1),
            (3, 0),
            (5, 0),
            (6, 0),
            (2, 1),
            (1, 132),
            (1, 262),
            (2, 136),
        ):
            assert said(socket, family, kind, protocol) == no_protocol
        assert said(pair, family, 1, 0) == no_family
    assert said(socket, 1, 1, 0) == said(pair, 1, 1, 0) == seccomp.ALLOW
    assert {said(socket, family, 3, 0) for family in (0, 16, 17, 40)} == {no_family}
    refused = seccomp.ERRNO | errno.EPERM
    assert said(seccomp.DENIED["mount"][column]) == refused  # what comes after it in the filter
    assert said(seccomp.DENIED["umount2"][column]) == refused
    assert said(seccomp.CLONE[column], 1 << 28) == refused


@pytest.mark.parametrize("machine", seccomp.AUDIT_ARCH)
def test_other_ways_to_number_a_call_lead_nowhere(machine):
    assert verdict(machine, 39, arch=0x4000_0003) == seccomp.KILL
    assert verdict(machine, 0x4000_0000 | 39) == seccomp.ERRNO | errno.ENOSYS
    assert verdict(machine, seccomp.NEWEST + 1) == seccomp.ERRNO | errno.ENOSYS
    assert verdict(machine, 435) == seccomp.ERRNO | errno.ENOSYS


def test_a_warm_run_finds_nothing_of_the_one_before(box):
    leave = """
import builtins, json, os, socket
builtins.left = json.left = 1
open("left", "w").write("x")
open("/tmp/left", "w").write("x")
os.environ["LEFT"] = "1"
server = socket.socket(socket.AF_UNIX)
server.bind("\\0left")
"""
    find = """
import builtins, json, os, socket, sys
assert not hasattr(builtins, "left") and not hasattr(json, "left")
assert sorted(os.listdir("/tmp")) == ["work"] and os.listdir(".") == ["main.py"]
assert set(os.environ) <= {"PATH", "HOME", "LANG", "LC_CTYPE", "LD_LIBRARY_PATH"}
assert [p for p in os.listdir("/proc") if p.isdigit()] == ["1", str(os.getpid())]
assert sorted(os.listdir("/proc/self/fd"))[:3] == ["0", "1", "2"]
assert not [name for name in sys.modules if name.startswith("munro")]
try:
    socket.socket(socket.AF_UNIX).connect("\\0left")
except ConnectionRefusedError:
    print("clean")
"""
    assert box.run_python(leave).is_ok
    done = box.run_python(find)
    assert (done.stdout, done.stderr) == (b"clean\n", b"")


def test_warm_runs_do_not_share_a_seed(box):
    draw = "import random, uuid\nprint(random.random(), uuid.uuid4())"
    assert len({box.run_python(draw).stdout for _ in range(4)}) == 4


def test_a_warm_run_ends_as_an_interpreter_would(box):
    program = """
import atexit, sys, threading, time
atexit.register(print, "exit handler")
threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
file = open("kept", "w")
file.write("not flushed")
sys.exit("why")
"""
    done = box.run_python(program, want=["kept"])
    assert done.status == 1
    assert done.stdout == b"thread\nexit handler\n"
    assert done.stderr == b"why\n"
    assert done.files == {"kept": b"not flushed"}
    failed = box.run_python("\n\n1 / 0\n")
    assert failed.status == 1
    assert failed.stderr.startswith(
        b'Traceback (most recent call last):\n  File "/tmp/work/main.py", line 3, in <module>\n'
    )


def test_no_signal_and_no_open_pipe_of_a_program_holds_up_its_keeper(box):
    signals = """
import os, signal, time
for number in range(1, signal.NSIG):
    os.kill(1, number)
time.sleep(0.1)
os._exit(7)
"""
    in_flight = """
import os, socket
left, right = socket.socketpair()
for one in (left, right):
    socket.send_fds(one, [b"x"], [0, 1, 2, left.fileno(), right.fileno()])
os.write(1, b"said")
os._exit(7)
"""
    assert box.run_python(signals).status == 7
    held = box.run_python(in_flight)
    assert (held.status, held.stdout) == (7, b"said")


def test_many_threads_get_each_its_own_answer(box):
    def ask(number: int) -> bytes:
        return box.run_python("print(int(input()) ** 2)", stdin=str(number)).stdout

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(24))) == [b"%d\n" % n**2 for n in range(24)]


def test_what_a_session_leaves_in_the_way_neither_misleads_nor_stops_us(box):
    spoil = "rm -rf a /tmp/work; ln -s /usr /tmp/work; chmod 000 /tmp"
    with box.session(files={"a/b": "first"}) as session:
        assert session.run(["sh", "-c", "rm -r a; ln -s /etc a; mkdir -p c/d; chmod 0 c"]).is_ok
        after = session.run(["sh", "-c", "cat a/b; cat c"], files={"a/b": "2", "c": "3"})
        assert (after.stdout, after.stderr) == (b"23", b"")
        session.run(["sh", "-c", spoil])
        assert session.run(["cat", "x"], files={"x": "4"}, want=["x"]).files == {"x": b"4"}


def test_without_control_groups_memory_is_limited_too():
    hidden = "import mmap\nm = mmap.mmap(-1, 1 << 30)\nwhile m.write(b'x' * 4096): pass"
    plain = "x = bytearray(b'1') * (1 << 30)"
    with opened(control_groups=False) as box:
        assert box.run_python(plain).limit is Limit.MEMORY
        assert box.run_python(hidden).limit is Limit.MEMORY
        refused = box.run_python("import os\nos.memfd_create('x')")
        assert b"PermissionError" in refused.stderr


def test_packages_and_mounts_show_what_is_asked_for_and_nothing_beside(tmp_path):
    (tmp_path / "shown" / "bin").mkdir(parents=True)
    (tmp_path / "shown" / "cairn.py").write_text("HEIGHT = 3\n")
    tool = tmp_path / "shown" / "bin" / "tool"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    (tmp_path / "secret").write_text("secret")
    shown = str(tmp_path / "shown")
    with opened(packages=[shown], preload=["cairn"], mounts={shown: "/opt/tool"}) as box:
        assert box.run_python("import cairn\nprint(cairn.HEIGHT)").stdout == b"3\n"
        assert box.run(["tool"]).stdout == b"found\n"
        assert box.has("tool")
        assert not box.run(["sh", "-c", "echo x > /opt/tool/bin/tool"]).is_ok
        assert not box.run(["ls", str(tmp_path)]).is_ok


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"mounts": {"/no/such": "/opt/x"}}, "'/no/such', which is not there"),
        ({"packages": ["/no/such"]}, "'/no/such', which is not there"),
        ({"mounts": {"/usr": "opt"}}, "'opt' is no place"),
        ({"mounts": {"/usr": "/proc/x"}}, "'/proc/x' is no place"),
        ({"mounts": {"/usr": "/opt/../tmp"}}, "'/opt/../tmp' is no place"),
        ({"python": "/no/such/python"}, "'/no/such/python', which is not there"),
    ],
)
def test_a_place_that_cannot_be_shown_is_named(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        sandbox.open("namespaces", **options)


def test_a_killed_template_is_replaced():
    with opened() as box:
        assert isinstance(box, namespaces.NamespaceSandbox)
        failures = []

        def wait() -> None:
            try:
                box.run_python("import time; time.sleep(60)")
            except SandboxError as failure:
                failures.append(str(failure))

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not box._keepers:
            time.sleep(0.01)
        box._template.process.kill()
        waiting.join()
        assert failures == ["the first process of a sandbox died"]
        assert box.run_python("print(1)").stdout == b"1\n"


def test_closing_leaves_no_process_and_no_control_group():
    before = {each.pid for each in psutil.process_iter()}
    box = opened()
    assert isinstance(box, namespaces.NamespaceSandbox)
    launcher = psutil.Process(box._template.process.pid)
    started = [launcher, *launcher.children(recursive=True)]
    folders = [] if box._groups is None else box._groups.folders
    assert all(folder.exists() for folder in folders)
    box.close()
    box.close()
    assert {each.pid for each in started}.isdisjoint(before)
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
    assert not [folder for folder in folders if folder.exists()]
    with pytest.raises(SandboxError, match="closed"):
        box.run_python("print(1)")


HOLDER = """
import sys
sys.path.insert(0, sys.argv[1])
from munro.rewards import sandbox
box = sandbox.open("namespaces")
print(box._template.process.pid, *(box._groups.folders if box._groups else ()), flush=True)
box.run_python("import time; time.sleep(300)", limits=sandbox.Limits(wall_s=300))
"""


def test_all_of_it_dies_with_a_caller_that_is_killed_and_the_next_one_sweeps_up(box):
    command = [sys.executable, "-c", HOLDER, str(ROOT / "src")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        pid, *folders = holder.stdout.readline().decode().split()
        launcher = psutil.Process(int(pid))
        while len(launcher.children(recursive=True)) < 3:  # template, keeper, program
            time.sleep(0.01)
        inside = [launcher, *launcher.children(recursive=True)]
        holder.kill()
    _, alive = psutil.wait_procs(inside, timeout=30)
    assert alive == []
    opened().close()
    assert [folder for folder in folders if Path(folder).exists()] == []


ORDINARY = """
import sys
sys.path.insert(0, sys.argv[1])
from munro.rewards import sandbox
with sandbox.open("namespaces") as box:
    look = "import os\\nprint(os.getuid(), os.listdir('/'))"
    print(box.run_python(look).stdout, box.run(["id", "-u"]).stdout, box._groups)
    print(box.run_python("open('/etc/hostname')").status)
"""


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs a Python for everybody")
def test_an_ordinary_user_may_use_it_too():
    folder = Path(tempfile.mkdtemp())
    try:
        shutil.copytree(ROOT / "rewards", folder / "munro" / "rewards")
        shutil.copy(ROOT / "src" / "munro" / "__init__.py", folder / "munro")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        done = subprocess.run(
            ["/usr/bin/python3", "-B", "-c", ORDINARY, str(folder)],
            user=12345, group=12345, extra_groups=[], cwd="/", capture_output=True, text=True,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert "b'65534\\n'" in first
    assert "root" not in first
    assert first.endswith("None")
    assert second == "1"


def test_a_refusal_of_the_kernel_names_the_switch(monkeypatch, tmp_path):
    switch = tmp_path / "switch"
    switch.write_text("1\n")
    monkeypatch.setattr(plan, "SWITCHES", {str(switch): ("1", "sysctl this.switch=0")})
    assert plan.advice("no").endswith("as root, run: sysctl this.switch=0")
    switch.write_text("0\n")
    assert "--privileged" in plan.advice("no")


def test_groups_of_callers_that_were_killed_are_swept(tmp_path):
    with subprocess.Popen(["true"]) as dead:
        pass
    here = os.stat("/proc/self/ns/pid").st_ino
    stray = tmp_path / f"munro-{here}-{dead.pid}-ab-0"
    ours = tmp_path / f"munro-{here}-{os.getpid()}-ab-0"
    for folder in (stray, ours):
        folder.mkdir()
    cgroups._sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [ours.name]
