"""What an agent's session needs beside files: clipped output, a loopback, processes that go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from munro.rewards.sandbox import Image, Limit, Limits, Sandbox, Session
from tests.rewards.sandbox.both import BACKENDS, only_namespaces, opened_as
from tests.rewards.sandbox.test_namespaces import opened

LIMITS = Limits(
    cpu_s=20, wall_s=30, memory_mb=128, processes=24, output_bytes=1000, disk_mb=8, open_files=128
)
SERVER = "python3 -m http.server 8000 --bind 127.0.0.1 > log 2>&1 &"
ASK = """
import time, urllib.request
for _ in range(200):
    try:
        print(urllib.request.urlopen('http://localhost:8000/there').read())
        break
    except OSError as error:
        time.sleep(0.05)
else:
    print(error)
"""
ALIVE = "import os; print(len([n for n in os.listdir('/proc') if n.isdigit()]))"


@pytest.fixture(scope="module", params=BACKENDS)
def box(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sandbox]:
    with opened_as(request.param, LIMITS, tmp_path_factory.mktemp("engine")) as box:
        yield box


def alive(session: Session) -> int:
    """Processes beside the first and the one that counts."""
    return int(session.run(["python3", "-c", ALIVE]).stdout) - 2


def settled(session: Session, expected: int) -> int:
    """How many are alive once they are `expected`, or after 20 seconds: who was killed is there
    until its parent has waited for it, on a busy machine for a while."""
    deadline = time.monotonic() + 20
    while (count := alive(session)) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return count


def test_clipped_output_has_head_mark_and_tail_and_the_command_goes_on(box: Sandbox) -> None:
    with box.session(limits=LIMITS) as session:
        script = "seq 200000; echo done > file"
        clipped = session.run(["sh", "-c", script], clip=True, want=["file"])
        cut = session.run(["sh", "-c", script], want=["file2"])
    whole = "".join(f"{n}\n" for n in range(1, 200001)).encode()
    mark = b"\n[... %d bytes left out ...]\n" % (len(whole) - 1000)
    assert clipped.stdout == whole[:500] + mark + whole[-500:]
    assert clipped.files == {"file": b"done\n"}
    assert (clipped.is_ok, clipped.left_out) == (True, len(whole) - 1000)
    assert (cut.limit, cut.stdout) == (Limit.OUTPUT, whole[:1000])


def test_who_prints_for_ever_is_drained_until_its_time_is_over(box: Sandbox) -> None:
    with box.session(limits=LIMITS) as session:
        endless = session.run(["yes"], clip=True, limits=replace(LIMITS, wall_s=0.5))
        after = session.run(["sh", "-c", "echo 1"])
    assert endless.limit is Limit.WALL
    assert endless.left_out > 1 << 20
    assert after.stdout == b"1\n"


def test_both_streams_in_the_order_in_which_they_were_written(box: Sandbox) -> None:
    script = "echo 1; echo 2 >&2; echo 3; echo 4 >&2; exit 3"
    with box.session(limits=LIMITS) as session:
        done = session.run(["sh", "-c", script], interleave=True)
        apart = session.run(["sh", "-c", script])
    assert (done.stdout, done.stderr, done.status) == (b"1\n2\n3\n4\n", b"", 3)
    assert (apart.stdout, apart.stderr) == (b"1\n3\n", b"2\n4\n")


def test_a_loopback_reaches_the_session_and_nothing_else(box: Sandbox) -> None:
    look = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 8000))\n"
        "client = socket.create_connection(('localhost', 8000))\n"
        "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 9000))\n"
        "udp.sendto(b'x', ('127.0.0.1', 9000)); print(udp.recv(9))\n"
        "for where in (('10.0.0.1', 80), ('169.254.169.254', 80)):\n"
        "    try: socket.create_connection(where, 1)\n"
        "    except OSError as error: print(error.errno)\n"
        "for kind in ((2, 3, 1), (2, 2, 1), (16, 3, 0), (17, 3, 0), (2, 5, 0), (2, 1, 262)):\n"
        "    try: print(socket.socket(*kind))\n"
        "    except OSError as error: print(error.errno)\n"
    )
    with (
        box.session(limits=LIMITS, loopback=True) as session,
        box.session(limits=LIMITS, loopback=True) as other,
        box.session(limits=LIMITS) as plain,
    ):
        expected = b"b'x'\n101\n101\n93\n93\n97\n97\n93\n93\n"
        assert session.run(["python3", "-c", look]).stdout == expected
        assert other.run(["python3", "-c", look]).stdout == expected
        refused = plain.run(["python3", "-c", "import socket; socket.socket()"])
        assert b"[Errno 97]" in refused.stderr


def test_a_loopback_speaks_both_versions(box: Sandbox, request: pytest.FixtureRequest) -> None:
    only_namespaces(request)  # engines turn version 6 off in containers without a network
    look = "import socket; print(socket.create_server(('::1', 8000), family=10).getsockname())"
    with box.session(limits=LIMITS, loopback=True) as session:
        assert session.run(["python3", "-c", look]).stdout == b"('::1', 8000, 0, 0)\n"


def test_what_a_loopback_left_is_gone_for_the_next_session(box: Sandbox) -> None:
    leave = (
        "import socket; s = socket.create_server(('127.0.0.1', 8000), reuse_port=False)\n"
        "c = socket.create_connection(('127.0.0.1', 8000)); a, _ = s.accept(); a.close(); c.close()"
    )
    plain = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 8000)); print('free')"
    for _ in range(3):
        with box.session(limits=LIMITS, loopback=True) as session:
            assert session.run(["python3", "-c", plain]).stdout == b"free\n"
            assert session.run(["python3", "-c", leave]).is_ok


def test_a_server_goes_on_from_one_command_to_the_next(box: Sandbox) -> None:
    with box.session(
        files={"there": "here"}, limits=LIMITS, loopback=True, keep_processes=True
    ) as session:
        assert session.run(["sh", "-c", SERVER]).is_ok
        assert session.run(["python3", "-c", ASK]).stdout == b"b'here'\n"
        assert settled(session, 1) == 1
    with box.session(files={"there": "here"}, limits=LIMITS, loopback=True) as session:
        assert session.run(["sh", "-c", SERVER]).is_ok
        assert settled(session, 0) == 0


def test_a_command_that_is_over_its_time_ends_and_a_server_does_not(box: Sandbox) -> None:
    with box.session(limits=LIMITS, keep_processes=True) as session:
        session.run(["sh", "-c", "sleep 1000 > log 2>&1 &"])
        slow = session.run(["sh", "-c", "sleep 999 & sleep 999"], limits=replace(LIMITS, wall_s=1))
        assert slow.limit is Limit.WALL
        assert settled(session, 1) == 1
        assert session.run(["sh", "-c", "kill -9 -1"]).status in (0, -9)
        assert settled(session, 0) == 0


def test_who_goes_on_printing_holds_nobody_up(box: Sandbox) -> None:
    with box.session(limits=LIMITS, keep_processes=True) as session:
        for _ in range(3):  # one that is held up ends by its limit, with another status
            assert session.run(["sh", "-c", "yes & echo $!"], clip=True).status == 0


HOARD = (
    "import os, time\n"
    "if not os.fork():\n"
    "    os.setsid(); time.sleep(0.3)\n"
    "    x = bytearray(b'1') * (400 << 20)\n"
    "    time.sleep(1000)\n"
)


@pytest.mark.parametrize("control_groups", [True, False])
def test_processes_that_go_on_count_in_the_limits(control_groups: bool) -> None:
    with (
        opened(control_groups=control_groups) as box,
        box.session(limits=LIMITS, keep_processes=True) as session,
    ):
        assert session.run(["python3", "-c", HOARD]).is_ok
        deadline = time.monotonic() + 20
        while alive(session) and time.monotonic() < deadline:  # while nothing is asked, too
            time.sleep(0.6)
        assert alive(session) == 0
        many = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done"
        for _ in range(2):
            assert session.run(["sh", "-c", many]).is_ok
        last = session.run(["sh", "-c", f"{many}; sleep 1"])
        assert last.limit is Limit.PROCESSES or not last.is_ok, last
        counted = session.run(["python3", "-c", ALIVE])
        while not counted.is_ok and time.monotonic() < deadline + 40:  # what was killed still ends
            time.sleep(0.3)
            counted = session.run(["python3", "-c", ALIVE])
        assert counted.is_ok, counted
        assert int(counted.stdout) - 2 <= LIMITS.processes


def test_cpu_of_a_process_that_goes_on_counts_while_a_command_runs(box: Sandbox) -> None:
    with box.session(limits=LIMITS, keep_processes=True) as session:
        assert session.run(["sh", "-c", "while :; do :; done > log 2>&1 &"]).is_ok
        time.sleep(0.5)
        quick = session.run(["true"], limits=replace(LIMITS, cpu_s=0.4))
        assert quick.is_ok, "what it used before is not this command's"
        slow = session.run(["sleep", "20"], limits=replace(LIMITS, cpu_s=0.4))
        assert slow.limit is Limit.CPU
        assert settled(session, 0) == 0


BUSY = (
    "import os, time\n"
    "if not os.fork():\n"
    "    os.setsid()\n"
    "    while True:\n"
    "        for name in ('f', 'd/f'):\n"
    "            try: os.unlink(name)\n"
    "            except OSError: pass\n"
    "            try: os.symlink('/etc/passwd', name)\n"
    "            except OSError: pass\n"
    "            try: os.rename('d', 'e'); os.rename('e', 'd')\n"
    "            except OSError: pass\n"
)


def test_a_process_that_goes_on_cannot_break_the_files_of_a_command(box: Sandbox) -> None:
    with box.session(image=Image(), limits=LIMITS, keep_processes=True) as session:
        assert session.run(["python3", "-c", BUSY], files={"d/x": "1"}).is_ok
        for turn in range(20):
            done = session.run(["true"], files={"f": f"{turn}", "d/f": "2"}, want=["d/x"])
            assert done.limit is None
            assert {"d", "e"} & {change.path for change in session.changes()}
        assert settled(session, 1) == 1
