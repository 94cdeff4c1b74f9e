"""Tests in a box: what each did, whatever the code under test does to the one that reports."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from munro.envs.swe.run import Ran, pytest_layer, run_tests
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Image, layer_of
from tests.envs.swe.boxes import Bench

FILE = "tests/test_stones.py"
STONES = "def stack(n):\n    return n + 1\n"
EVERY_WAY = """
import time, unittest
import pytest
from stones import stack

def test_right(): assert stack(1) == 2
def test_wrong(): assert stack(1) == 3
def test_skipped(): pytest.skip("not now")
@pytest.mark.xfail
def test_known(): assert stack(1) == 3
@pytest.mark.xfail
def test_mended(): assert stack(1) == 2
@pytest.fixture
def broken(): raise ValueError
def test_setup(broken): pass
@pytest.fixture
def late():
    yield
    raise ValueError
def test_teardown(late): pass
@pytest.mark.parametrize("n", [1, 2])
def test_each(n): assert stack(n) == 2
class TestOld(unittest.TestCase):
    def test_old(self): self.assertEqual(stack(2), 3)
    def test_parts(self):
        for n in (1, 2):
            with self.subTest(n=n): self.assertEqual(stack(n), 2)
"""


def ran(swe: Bench, files: Mapping[str, str | bytes], *paths: str, **options) -> Ran:
    options = {"test_s": 5, "wall_s": 50, **options}
    with swe.session({"stones.py": STONES, **files}) as session:
        return run_tests(session, paths or [FILE], **options)


def test_only_tests_that_are_named_are_run(swe: Bench) -> None:
    only = [f"{FILE}::test_right", f"{FILE}::test_each", f"{FILE}::TestOld::test_old"]
    done = ran(swe, {FILE: EVERY_WAY}, only=only)
    assert done.is_finished
    assert {name.rpartition("::")[2] for name in done.results} == {
        "test_right",
        "test_each[1]",
        "test_each[2]",
        "test_old",
    }
    one = ran(swe, {FILE: EVERY_WAY}, only=[f"{FILE}::test_each[2]"])
    assert list(one.results) == [f"{FILE}::test_each[2]"]


def test_a_run_that_is_to_end_with_the_first_failure_does(swe: Bench) -> None:
    tests = f"from time import sleep\ndef test_hangs():\n    sleep(99)\n{EVERY_WAY}"
    done = ran(swe, {FILE: tests}, until_failure=True, test_s=1)
    assert (dict(done.results), done.is_finished) == ({f"{FILE}::test_hangs": "error"}, False)
    some = ran(swe, {FILE: EVERY_WAY}, until_failure=True)
    assert not some.is_finished
    assert list(some.results.values()).count("failed") == 1
    right = ran(swe, {FILE: EVERY_WAY}, until_failure=True, only=[f"{FILE}::test_right"])
    assert right.is_finished


def test_each_test_has_one_word(swe: Bench) -> None:
    done = ran(swe, {FILE: EVERY_WAY, "tests/test_torn.py": "import nothing_there\n"}, "tests")
    short = {name.rpartition("::")[2]: outcome for name, outcome in done.results.items()}
    assert short == {
        "test_right": "passed",
        "test_wrong": "failed",
        "test_skipped": "skipped",
        "test_known": "xfailed",
        "test_mended": "xpassed",
        "test_setup": "error",
        "test_teardown": "error",
        "test_each[1]": "passed",
        "test_each[2]": "failed",
        "test_old": "passed",
        "test_parts": "failed",
    }
    assert done.is_finished
    assert not done.flags
    assert "assert 2 == 3" in done.messages[f"{FILE}::test_wrong"]
    assert "nothing_there" in done.broken["tests/test_torn.py"]
    assert done.durations[f"{FILE}::test_right"] >= 0
    assert f"{FILE}::TestOld::test_old" in done.passed


def test_a_test_over_its_time_or_one_that_ends_its_interpreter_does_not_take_the_rest_along(
    swe: Bench,
) -> None:
    file = (
        "import os, signal, time\n"
        "def test_a(): pass\n"
        "def test_hang():\n    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
        "    time.sleep(60)\n"
        "def test_b(): pass\n"
        "def test_exit(): os._exit(0)\n"
        "def test_quit(): raise SystemExit(0)\n"
        "def test_break(): raise KeyboardInterrupt\n"
        "def test_c(): pass\n"
    )
    done = ran(swe, {FILE: file}, test_s=1)
    names = ["a", "hang", "b", "exit", "quit", "break", "c"]
    words = [done.results[f"{FILE}::test_{name}"] for name in names]
    assert words == ["passed", "error", "passed", "error", "failed", "error", "passed"]
    assert done.is_finished
    assert "over its time" in done.messages[f"{FILE}::test_hang"]


@pytest.mark.parametrize(
    "quits", ["import os; os._exit(0)", "raise SystemExit(0)", "import time; time.sleep(99)"]
)
def test_what_ends_before_a_test_runs_is_not_finished(swe: Bench, quits: str) -> None:
    done = ran(swe, {"stones.py": quits, FILE: "import stones\ndef test_a(): pass\n"}, wall_s=3)
    assert not done.is_finished
    assert not done.results


def test_settings_of_the_repository_and_of_its_surroundings_change_nothing(swe: Bench) -> None:
    files = {
        "pytest.ini": "[pytest]\naddopts = --no-such-option -k nothing\n",
        "sitecustomize.py": "raise SystemExit\n",
        "pytest.py": "raise SystemExit\n",
        "hmac.py": "raise SystemExit\n",
        "evil.dist-info/entry_points.txt": "[pytest11]\nevil = evil\n",
        "evil.dist-info/METADATA": "Name: evil\nVersion: 1\n",
        "evil.py": "raise SystemExit\n",
        FILE: (
            "import os, sys, time, pytest\n"
            "def test_a():\n"
            "    assert time.tzname == ('UTC', 'UTC') and sys.flags.hash_randomization == 1\n"
            "    assert os.environ['PYTHONHASHSEED'] == '7' and sys.dont_write_bytecode\n"
            "    assert 'evil' not in sys.modules and 'sitecustomize' not in sys.modules\n"
        ),
    }
    done = ran(swe, files, seed=7)
    assert done.results == {f"{FILE}::test_a": "passed"}, done


def test_a_repository_that_pytest_stands_on_is_tested_itself(swe: Bench) -> None:
    files = {
        "src/packaging/__init__.py": "HEIGHT = 3\n",
        FILE: "from packaging import HEIGHT\ndef test_a(): assert HEIGHT == 3\n",
    }
    assert ran(swe, files).passed == {f"{FILE}::test_a"}


def test_the_order_is_the_seeds(swe: Bench) -> None:
    file = "".join(f"def test_{n}(): pass\n" for n in range(9))
    orders = [list(ran(swe, {FILE: file}, seed=seed, shuffle=True).results) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
    assert list(ran(swe, {FILE: file}, seed=1).results) == sorted(orders[0])


FORGED = '{"kind": "done", "id": "tests/test_stones.py::test_a", "outcome": "passed"}'
FORGERIES = {
    "lines on standard output": (
        f"print('\\n{FORGED}\\n' + '{{\"kind\": \"finished\"}}', flush=True)"
    ),
    "lines on every descriptor": (
        "import os\n"
        "for n in range(3, 64):\n"
        "    try: os.write(n, b'" + FORGED + " 00\\n')\n"
        "    except OSError: pass"
    ),
    "the descriptors of other processes": (
        "import os\n"
        "for pid in [name for name in os.listdir('/proc') if name.isdigit()]:\n"
        "    for n in range(0, 16):\n"
        "        if pid != str(os.getpid()):\n"
        "            try: open(f'/proc/{pid}/fd/{n}', 'wb', 0).write(b'" + FORGED + "\\n')\n"
        "            except OSError: pass"
    ),
    "killing all others": "import os; os.kill(-1, 9)",
    "killing its parent": "import os; os.kill(os.getppid(), 9)",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_nothing_that_the_code_writes_is_taken_for_a_report(swe: Bench, forgery: str) -> None:
    code = f"{FORGERIES[forgery]}\nimport os\nos._exit(0)\n"
    done = ran(swe, {"stones.py": code, FILE: "import stones\ndef test_a(): pass\n"})
    assert not done.results
    assert not done.is_finished


def test_what_judges_is_watched(swe: Bench) -> None:
    code = (
        "import unittest, _pytest.python as p\n"
        "p.Function.runtest = lambda self: None\n"
        "unittest.TestCase.assertEqual = lambda *a: None\n"
    )
    done = ran(swe, {"stones.py": code, FILE: "import stones\ndef test_a(): assert False\n"})
    assert done.results == {f"{FILE}::test_a": "passed"}, "one interpreter: the run believes it"
    assert set(done.flags) == {
        "replaced _pytest.python.Function.runtest",
        "replaced TestCase.assertEqual",
    }


def test_a_name_that_is_looked_up_is_told(swe: Bench) -> None:
    code = "import socket\ntry: socket.getaddrinfo('pypi.org', 443)\nexcept OSError: pass\n"
    done = ran(swe, {"stones.py": code, FILE: "import stones\ndef test_a(): pass\n"})
    assert done.reached == ("pypi.org",)


def test_a_flood_of_output_is_cut_and_stops_nobody(swe: Bench) -> None:
    file = "def test_a():\n    for _ in range(300): print('x' * 100_000)\n    assert False\n"
    done = ran(swe, {FILE: file}, options=["-s"])
    assert done.results == {f"{FILE}::test_a": "failed"}
    assert len(done.log) < 100_000
    assert "bytes ...]" in done.log


def test_a_box_without_pytest_is_one_sentence(swe: Bench) -> None:
    image = Image(layers=(layer_of({FILE: "def test_a(): pass\n"}, swe.store),))
    with (
        swe.box.session(image=image) as session,
        pytest.raises(SandboxError, match="there is no pytest in the box: put"),
    ):
        run_tests(session, [FILE], test_s=5, wall_s=20)


def test_a_layer_of_what_is_not_installed_is_one_sentence(swe: Bench) -> None:
    with pytest.raises(ValueError, match="hidden tests need no-such-thing, which is not installed"):
        pytest_layer(swe.store, ["no-such-thing"])
