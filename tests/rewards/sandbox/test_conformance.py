"""What every back end must do: each method of the interface, each limit by its name.

`namespaces` runs every day; `docker` where an engine is or can be started, under `make test-all`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from munro.rewards import sandbox
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Limit, Limits, Sandbox
from tests.rewards.sandbox.engine import engine, make_image, why_no_engine

LIMITS = Limits(
    cpu_s=8, wall_s=20, memory_mb=128, processes=16, open_files=64, output_bytes=1 << 16, disk_mb=8
)

docker = pytest.param(
    "docker",
    marks=[
        pytest.mark.slow,
        pytest.mark.timeout(900),
        pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine() or "there is one"),
    ],
)


@pytest.fixture(scope="module", params=["namespaces", docker])
def box(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sandbox]:
    """One sandbox for the tests of this module, as sandboxes are used."""
    if request.param == "docker":
        with (
            engine(tmp_path_factory.mktemp("engine")) as address,
            sandbox.open("docker", LIMITS, image=make_image(address), host=address) as one,
        ):
            yield one
    else:
        with sandbox.open(request.param, LIMITS) as one:
            yield one


def test_a_command_gets_its_files_and_input_and_gives_back_what_is_wanted(box: Sandbox) -> None:
    script = "cat in/a; cat; echo no >&2; ls; mkdir -p out; cat in/b > out/c; exit 3"
    if not box.has("mkdir"):
        script = script.replace("mkdir -p out; ", "").replace("out/c", "in/c")
    outcome = box.run(
        ["sh", "-c", script],
        files={"in/a": "text é\n", "in/b": b"\xff\x00"},
        stdin="17 25\n",
        want=["in/c", "out/c", "in/a", "gone"],
    )
    assert outcome.status == 3
    assert outcome.stdout == "text é\n17 25\nin\n".encode()
    assert outcome.stderr == b"no\n"
    made = "out/c" if "out/c" in outcome.files else "in/c"
    assert outcome.files == {made: b"\xff\x00", "in/a": "text é\n".encode()}
    assert outcome.limit is None
    assert not outcome.is_ok
    assert outcome.usage.wall_s > 0


def test_python_source_runs_as_main_with_input_arguments_and_exit_status(box: Sandbox) -> None:
    source = (
        "import sys\n"
        "a, b = map(int, input().split())\n"
        "print(__name__, a + b, sys.argv)\n"
        "open('out', 'w').write('done')\n"
        "sys.exit(4)\n"
    )
    outcome = box.run_python(source, stdin="17 25\n", want=["out"])
    assert outcome.stdout == b"__main__ 42 ['main.py']\n"
    assert (outcome.status, outcome.files) == (4, {"out": b"done"})


def test_an_exception_ends_python_with_status_one_and_a_traceback(box: Sandbox) -> None:
    outcome = box.run_python("def f():\n    return 1 / 0\nf()\n")
    assert outcome.status == 1
    assert outcome.limit is None
    assert b"ZeroDivisionError" in outcome.stderr
    assert b'main.py", line 2' in outcome.stderr


def test_a_run_that_succeeds_is_ok(box: Sandbox) -> None:
    outcome = box.run_python("print(6 * 7)")
    assert outcome.is_ok
    assert outcome.stdout == b"42\n"


def test_a_signal_that_ends_a_program_is_a_negative_status(box: Sandbox) -> None:
    outcome = box.run_python("import os; os.kill(os.getpid(), 11)")
    assert (outcome.status, outcome.limit) == (-11, None)


def test_a_program_that_is_not_there_is_an_outcome_with_status_127(box: Sandbox) -> None:
    outcome = box.run(["no-such-program"])
    assert outcome.status == 127
    assert b"no-such-program" in outcome.stderr


def test_bytes_come_back_as_they_were_said(box: Sandbox) -> None:
    said = bytes(range(256)) * 8 + b'R\x00\x00\x00\x02{}\n{"status": 0}\n\x01\x00\x00\x00\x00\x00'
    outcome = box.run_python(f"import os; os.write(1, {said!r}); os.write(2, {said!r}[::-1])")
    assert outcome.stdout == said
    assert outcome.stderr == said[::-1]


def test_surrogates_and_strange_names_do_no_harm(box: Sandbox) -> None:
    name = "é \n'\"$(x)"
    outcome = box.run(["cat", name], files={name: "\ud800"}, stdin="\udfff", want=[name])
    assert outcome.stdout == "\ud800".encode("utf-8", "surrogatepass")
    assert outcome.files == {name: outcome.stdout}


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", ".", "a\0b"])
def test_a_path_out_of_the_working_directory_is_refused(box: Sandbox, path: str) -> None:
    with pytest.raises(ValueError, match="working directory"):
        box.run(["true"], files={path: "x"})
    with pytest.raises(ValueError, match="working directory"):
        box.run(["true"], want=[path])


LIMIT_CASES = {
    Limit.CPU: ("while True: pass", replace(LIMITS, cpu_s=0.3)),
    Limit.WALL: ("import time; time.sleep(60)", replace(LIMITS, wall_s=0.5)),
    Limit.MEMORY: ("x = bytearray(b'x') * (512 << 20)", LIMITS),
    Limit.PROCESSES: (
        "import os, time\nfor _ in range(40):\n    if not os.fork(): time.sleep(9)",
        LIMITS,
    ),
    Limit.OPEN_FILES: ("import os\nfor _ in range(200): os.dup(0)", LIMITS),
    Limit.OUTPUT: ("while True: print('x' * 999)", LIMITS),
    Limit.INODES: (
        "for i in range(500): open(str(i), 'w')",
        replace(LIMITS, inodes=100),
    ),
    Limit.DISK: ("open('x', 'wb').write(b'x' * (40 << 20))", LIMITS),
}


@pytest.mark.parametrize("limit", LIMIT_CASES)
def test_the_limit_that_was_hit_is_named(box: Sandbox, limit: Limit) -> None:
    source, limits = LIMIT_CASES[limit]
    outcome = box.run_python(source, limits=limits)
    assert outcome.limit == limit, outcome
    assert outcome.status != 0
    assert not outcome.is_ok


def test_every_limit_has_a_case() -> None:
    assert set(LIMIT_CASES) == set(Limit)


def test_what_is_within_the_limits_names_none(box: Sandbox) -> None:
    source = (
        "import os, time, threading\n"
        "held = bytearray(b'x') * (60 << 20)\n"
        "fds = [os.dup(0) for _ in range(40)]\n"
        "threads = [threading.Thread(target=time.sleep, args=(0.2,)) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "open('x', 'wb').write(b'x' * (4 << 20))\n"
        "os.write(1, b'x' * 60000)\n"
    )
    outcome = box.run_python(source)
    assert outcome.is_ok, outcome
    assert len(outcome.stdout) == 60_000


def test_output_is_cut_at_its_limit(box: Sandbox) -> None:
    outcome = box.run_python("import os\nwhile True: os.write(1, b'x' * 65536)")
    assert outcome.limit == Limit.OUTPUT
    assert outcome.stdout == b"x" * LIMITS.output_bytes


def test_a_disk_limit_holds_for_the_working_directory_and_tmp_together(box: Sandbox) -> None:
    source = "for p in ('a', '/tmp/b'): open(p, 'wb').write(b'x' * (5 << 20))"
    assert box.run_python(source).limit == Limit.DISK


def test_files_that_do_not_fit_are_the_disk_limit(box: Sandbox) -> None:
    outcome = box.run(["true"], files={"big": b"x" * (20 << 20)})
    assert (outcome.limit, outcome.is_ok) == (Limit.DISK, False)


def test_a_program_deaf_to_signals_is_ended_and_so_are_its_children(box: Sandbox) -> None:
    source = (
        "import os, signal, time\n"
        "for n in (1, 2, 3, 13, 15, 24): signal.signal(n, signal.SIG_IGN)\n"
        "for _ in range(3):\n    if not os.fork(): os.setsid()\n"
        "os.write(1, b'up')\n"
        "time.sleep(60)\n"
    )
    outcome = box.run_python(source, limits=replace(LIMITS, wall_s=1))
    assert outcome.limit == Limit.WALL
    assert outcome.stdout.startswith(b"up")


def test_a_child_that_keeps_the_output_open_holds_nobody_up(box: Sandbox) -> None:
    source = "import os, time\nif not os.fork(): os.setsid(); time.sleep(60)\nprint('done')"
    outcome = box.run_python(source)
    assert (outcome.status, outcome.limit) == (0, None)
    assert outcome.stdout.endswith(b"done\n")


def test_only_regular_files_are_brought_back(box: Sandbox) -> None:
    source = (
        "import os\nos.mkfifo('pipe'); os.mkdir('folder'); os.symlink('/etc/passwd', 'link')\n"
        "os.mkdir('real'); open('real/x', 'w').write('1'); os.symlink('real', 'linked')\n"
        "open('shut', 'w').write('2'); os.chmod('shut', 0)\n"
    )
    want = ["pipe", "folder", "link", "real/x", "linked/x", "gone", "real"]
    outcome = box.run_python(source, want=want)
    assert outcome.files == {"real/x": b"1"}


def test_nothing_of_the_caller_is_in_the_environment(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUNRO_SECRET", "hidden")
    for outcome in (
        box.run(["env"]),
        box.run_python("import os\nfor k, v in os.environ.items(): print(f'{k}={v}')"),
    ):
        names = {line.partition(b"=")[0] for line in outcome.stdout.splitlines()}
        assert b"PATH" in names
        assert b"MUNRO_SECRET" not in names
        assert b"hidden" not in outcome.stdout


def test_a_conversation_goes_line_by_line(box: Sandbox) -> None:
    heard: list[bytes] = []

    def answer(line: bytes) -> bytes | None:
        heard.append(line)
        if not line:
            return b"0\n"
        return b"%d\n" % (int(line) + 1) if int(line) < 6 else None

    source = (
        "import sys\nfor line in sys.stdin:\n    print(int(line) + 1, flush=True)\n"
        "print('bye', file=sys.stderr)\nopen('x', 'w').write('1')\nsys.exit(5)\n"
    )
    for talk in (
        lambda: box.converse_python(source, answer),
        lambda: box.converse(["python3", "-I", "talk.py"], answer, files={"talk.py": source}),
    ):
        heard.clear()
        outcome = talk()
        assert heard == [b"", b"1\n", b"3\n", b"5\n", b"7\n"]
        assert outcome.stdout == b""
        assert outcome.stderr == b"bye\n"
        assert (outcome.status, outcome.limit) == (5, None)


def test_a_line_without_end_ends_a_conversation(box: Sandbox) -> None:
    source = "import sys\nwhile True: sys.stdout.write('x' * 4096)"
    assert box.converse_python(source, lambda line: b"").limit == Limit.OUTPUT


def test_limits_hold_in_a_conversation(box: Sandbox) -> None:
    short = replace(LIMITS, wall_s=0.5)
    assert box.converse_python("input()", lambda line: b"", limits=short).limit == Limit.WALL


def test_a_program_that_talks_and_never_listens_is_ended(box: Sandbox) -> None:
    short = replace(LIMITS, wall_s=1, cpu_s=1)
    source = "import os\nwhile True: os.write(1, b'\\n' * 65536)"
    outcome = box.converse_python(source, lambda line: b"x" * 64, limits=short)
    assert outcome.limit in (Limit.WALL, Limit.CPU)


def test_an_error_of_the_one_who_answers_reaches_the_caller(box: Sandbox) -> None:
    def answer(line: bytes) -> bytes:
        raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        box.converse_python("input()", answer)
    assert box.run_python("print(1)").is_ok


def test_a_session_keeps_files_and_no_processes(box: Sandbox) -> None:
    with box.session(files={"a": "1"}) as session:
        first = session.run(["sh", "-c", "sleep 50 & cat a; echo 2 > b"], want=["b"])
        assert (first.stdout, first.files) == (b"1", {"b": b"2\n"})
        script = (
            "import os\nalive = [name for name in os.listdir('/proc') if name.isdigit()]\n"
            "print(open('b').read(), len(alive))"
        )
        second = session.run(["python3", "-c", script], files={"a": "3"})
        text, processes = second.stdout.split()
        assert text == b"2"
        assert int(processes) <= 2
        assert session.run(["cat", "a"], stdin="x").stdout == b"3"
        slow = session.run(["sleep", "9"], limits=replace(LIMITS, wall_s=0.5))
        assert slow.limit == Limit.WALL
        assert session.run(["cat", "b"]).stdout == b"2\n"


def test_a_session_survives_what_a_program_leaves_in_the_way(box: Sandbox) -> None:
    with box.session() as session:
        session.run(
            ["python3", "-c", "import os; os.makedirs('main/x'); open('f', 'w'); os.chmod('.', 0)"]
        )
        outcome = session.run(["cat", "main", "f/y"], files={"main": "1", "f/y": "2"})
        assert outcome.stdout == b"12"


def test_nothing_of_a_run_is_left_for_the_next(box: Sandbox) -> None:
    leave = "import builtins, os\nfor p in ('x', '/tmp/y'): open(p, 'w')\nbuiltins.print = None"
    assert box.run_python(leave).is_ok
    look = "import os\nprint(sorted(os.listdir('.')), os.path.exists('/tmp/y'))"
    assert box.run_python(look).stdout == b"['main.py'] False\n"


def test_it_can_tell_which_programs_it_has(box: Sandbox) -> None:
    assert box.has("python3")
    assert not box.has("no-such-program")


def test_many_threads_may_run_at_once(box: Sandbox) -> None:
    with ThreadPoolExecutor(4) as threads:
        runs = threads.map(lambda n: box.run_python(f"print({n} * 2)").stdout, range(8))
        assert list(runs) == [b"%d\n" % (n * 2) for n in range(8)]


def test_closing_ends_what_runs_and_may_be_said_twice(
    request: pytest.FixtureRequest, box: Sandbox
) -> None:
    name = request.node.callspec.params["box"]
    if name != "namespaces":
        pytest.skip("the module's sandbox of containers is still needed")
    other = sandbox.open(name, LIMITS)
    ended: list[object] = []
    begun = threading.Event()

    def run() -> None:
        def answer(line: bytes) -> bytes:
            begun.set()
            return b""

        try:
            ended.append(other.converse_python("print(1, flush=True); input()", answer))
        except SandboxError as failure:
            ended.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(60)
    other.close()
    thread.join(60)
    other.close()
    assert len(ended) == 1
    with pytest.raises(SandboxError):
        other.run(["true"])


def test_an_unknown_back_end_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(ValueError, match="'namespaces' or 'docker'"):
        sandbox.open("dockers")


def test_no_engine_is_one_sentence_that_says_how_to_mend_it(tmp_path: Path) -> None:
    pytest.importorskip("docker", reason="Docker's SDK is an extra")
    with pytest.raises(SandboxError, match=r"no Docker engine answers at .*: start one"):
        sandbox.open("docker", host=f"unix://{tmp_path}/none.sock")


def test_no_sdk_is_one_sentence_that_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(SandboxError, match=r"pip install 'munro\[docker\]'"):
        sandbox.open("docker")
