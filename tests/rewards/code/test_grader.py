"""Programs against tests in the real sandbox: styles, limits, rewards, languages, and sharing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from munro import rewards
from munro.rewards import sandbox
from munro.rewards.code import LANGUAGES, Call, Case, Check, CodeGrader
from munro.rewards.config import RewardsConfig, SandboxConfig
from munro.rewards.errors import GraderError, SandboxError
from munro.rewards.sandbox.types import Outcome, Sandbox
from tests.rewards.verdicts import CHECKER, SUM, SUM_IN, SUMS, VERDICTS

CONFIG = RewardsConfig(sandbox=SandboxConfig(cpu_s=2, wall_s=60, memory_mb=128))


@pytest.fixture(scope="module")
def grader() -> Iterator[CodeGrader]:
    with CodeGrader(CONFIG) as grader:
        yield grader


@pytest.mark.parametrize(
    ("program", "tests", "passed", "reason"),
    [each[1:] for each in VERDICTS],
    ids=[each[0] for each in VERDICTS],
)
def test_a_program_gets_its_verdict_and_the_reason(grader, program, tests, passed, reason) -> None:
    grade = grader.run_tests(program, tests)
    assert grade.passed is passed, grade.reason
    assert grade.reward == float(passed)
    assert reason in grade.reason


def test_time_is_limited_for_each_test(grader: CodeGrader) -> None:
    spin = "import time\nn = int(input())\nend = time.process_time() + n\n"
    spin += "while time.process_time() < end: pass\nprint(n)"
    grade = grader.run_tests(
        spin, [Case(stdin="0", stdout="0"), Case(stdin="9", stdout="9")], limits={"cpu_s": 1}
    )
    assert grade.reason == "1 of 2 tests passed; test 2: hit the limit of cpu"


def test_a_sleeper_is_ended_by_the_wall_limit(grader: CodeGrader) -> None:
    grade = grader.run_tests("import time\ntime.sleep(999)", [Case()], limits={"wall_s": 0.5})
    assert grade.reason.endswith("hit the limit of wall")


def test_the_reward_is_all_or_nothing_or_the_share_that_passes(grader: CodeGrader) -> None:
    tests = [*SUMS, Case(stdin="1 1", stdout="2"), Case(stdin="3 4", stdout="7")]
    program = "a, b = map(int, input().split())\nprint(a + b if a > 0 else 'no')"
    first, every = grader.run_tests(program, tests), grader.run_tests(program, tests, run_all=True)
    share = grader.run_tests(program, tests, reward="fraction")
    assert (first.reward, first.parts["tests"]) == (0.0, 0.25)
    assert (every.reward, every.parts["tests"]) == (0.0, 0.75)
    assert (share.reward, share.passed, share.parts["tests"]) == (0.75, False, 0.75)
    assert share.reason.startswith("3 of 4 tests passed; test 2: wrong output 'no\\n'")


def test_a_group_of_equal_programs_costs_one_run() -> None:
    with CodeGrader(CONFIG) as grader, ThreadPoolExecutor(32) as threads:
        grades = list(threads.map(lambda _: grader.run_tests(SUM, SUMS), range(128)))
        assert grader.num_runs == 1
        assert all(grade.passed for grade in grades)
        grader.run_tests(SUM, SUMS[:1])
        grader.run_tests(SUM, SUMS, limits={"cpu_s": 1})
        assert grader.num_runs == 3


class Broken(Sandbox):
    """Has everything, and fails at the first run."""

    def __init__(self) -> None:
        self.limits = rewards.code.Limits()
        self.num_runs = 0

    def run(self, *args: Any, **kwargs: Any) -> Outcome:
        self.num_runs += 1
        raise SandboxError("lost its hold")

    converse = session = run  # type: ignore[assignment]

    def has(self, program: str) -> bool:
        return True

    def close(self) -> None:
        return None


@pytest.mark.parametrize("test", [SUMS[0], Call(function="f"), Check(source="f()")])
def test_a_broken_sandbox_is_an_error_for_all_who_wait_and_is_not_remembered(
    monkeypatch: pytest.MonkeyPatch, test: Any
) -> None:
    box = Broken()
    monkeypatch.setattr(sandbox, "open", lambda *args, **options: box)
    with CodeGrader(CONFIG) as grader:
        for _ in range(2):
            with pytest.raises(SandboxError, match="lost its hold"):
                grader.run_tests("def f(): pass", [test])
    assert box.num_runs >= 2


BROKEN_TESTS = [
    (Check(source="import numpy_is_not_here\nf()"), "No module named 'numpy_is_not_here'"),
    (Check(source="f(lambda: 1)"), "a value of type function"),
    (Check(source="f()\ng.x", entry_points=("f",)), "name 'g' is not defined"),
    (Check(source="f()", support="missing_name"), "missing_name"),
    (Case(stdout="?", checker=CHECKER), "the checker finds fault with its own test"),
]


@pytest.mark.parametrize(("test", "sentence"), BROKEN_TESTS)
def test_tests_that_are_broken_by_themselves_are_no_wrong_answer(grader, test, sentence) -> None:
    with pytest.raises(GraderError, match=sentence):
        grader.run_tests("def f(*args): return 1", [test])


MISUSE = [
    ((SUM, []), {}, "without a test cannot be graded"),
    ((SUM, ["3"]), {}, "test 1 is '3': make a Case, a Call or a Check"),
    ((SUM, SUMS, "pyhton"), {}, "did you mean 'python'"),
    ((SUM, [Call(function="f")], "cpp"), {}, "test 1 is a Call, which can test Python only"),
    ((SUM, SUMS), {"reward": "some"}, "write 'all' or 'fraction'"),
    ((SUM, SUMS), {"limits": {"cpu": 1}}, "limits has no 'cpu': there are cpu_s"),
    ((SUM, SUMS), {"limits": {"cpu_s": 0}}, "give a number above 0"),
]


@pytest.mark.parametrize(("args", "options", "sentence"), MISUSE)
def test_misuse_is_a_sentence(grader: CodeGrader, args, options, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        grader.run_tests(*args, **options)


FOREIGN = [name for name in LANGUAGES if name != "python"]
QUICK = {"c", "perl"}


@pytest.mark.parametrize(
    "name",
    [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in FOREIGN],
)
def test_a_language_runs_where_its_tool_chain_is_and_is_an_error_where_not(grader, name) -> None:
    wide = {"cpu_s": 20, "wall_s": 120}
    tests = [Case(stdin="2 3", stdout="5"), Case(stdin="20 22", stdout="42")]
    if not all(map(grader.has, LANGUAGES[name].needs)):
        with pytest.raises(ValueError, match=f"{name} needs .* the back end 'namespaces' lacks"):
            grader.require(name)
        with pytest.raises(GraderError, match=f"{name} needs .* lacks"):
            grader.run_tests(SUM_IN[name], tests, name)
        return
    grade = grader.run_tests(SUM_IN[name], tests, name, limits=wide)
    assert grade.passed, grade.reason
    assert not grader.run_tests(SUM_IN[name], [Case(stdin="1 1", stdout="3")], name, wide).passed
    broken = grader.run_tests("\x01 this is no program (", tests, name, limits=wide)
    assert not broken.passed
    if LANGUAGES[name].compile:
        assert broken.reason.startswith("it does not compile, status")


def test_the_module_has_one_grader_that_can_be_configured_and_closed() -> None:
    rewards.code.configure(CONFIG)
    try:
        assert rewards.code.run_tests(SUM, SUMS).passed
        rewards.code.require("python")
        rewards.code.close()
        assert rewards.code.run_tests(SUM, SUMS).passed
    finally:
        rewards.code.close()


def test_nothing_of_this_process_reaches_a_program(grader: CodeGrader, monkeypatch) -> None:
    monkeypatch.setenv("MUNRO_TEST_SECRET", "a secret")
    peek = "import os\nprint('a secret' in str(dict(os.environ)), os.path.exists('" + os.getcwd()
    grade = grader.run_tests(f"{peek}/pyproject.toml'))", [Case(stdout="False False")])
    assert grade.passed, grade.reason
