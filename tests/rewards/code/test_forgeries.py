"""No program passes that does not do what was asked, whatever it does to its surroundings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from munro.rewards.code import Call, Case, Check, CodeGrader
from munro.rewards.config import RewardsConfig, SandboxConfig
from tests.rewards.forgeries import FORGERIES

CONFIG = RewardsConfig(sandbox=SandboxConfig(cpu_s=0.5, wall_s=30))
CHECK = Check(
    source="def check(candidate):\n"
    "    assert candidate(1, 2) == 3\n"
    "    assert candidate(10, 5) == 15\n"
    "    assert candidate([1], [2]) == [1, 2]\n",
    entry_points=("add",),
)
CAREFUL = Check(
    source="try:\n    value = add(20, 22)\nexcept Exception:\n    value = None\nassert value == 42"
)
CALLS = [
    Call(function="add", args=(1, 2), expected=3),
    Call(function="add", args=([1], [2]), expected=[1, 2]),
]
HONEST = "def add(a, b): return a + b"


@pytest.fixture(scope="module")
def grader() -> Iterator[CodeGrader]:
    with CodeGrader(CONFIG) as grader:
        yield grader


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_fails_tests_that_are_source(grader: CodeGrader, name: str) -> None:
    for check in (CHECK, CAREFUL):
        grade = grader.run_tests(FORGERIES[name], [check])
        assert (grade.passed, grade.reward) == (False, 0.0), grade.reason
        assert grade.reason


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_fails_tests_that_are_calls(grader: CodeGrader, name: str) -> None:
    grade = grader.run_tests(FORGERIES[name], CALLS, run_all=True)
    assert not grade.passed
    assert grade.reason


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_fails_tests_of_what_it_prints(grader: CodeGrader, name: str) -> None:
    program = f"{FORGERIES[name]}\nadd(1, 2)"
    assert not grader.run_tests(program, [Case(stdin="1 2", stdout="3")]).passed


def test_an_honest_program_passes_after_all_of_them(grader: CodeGrader) -> None:
    grade = grader.run_tests(HONEST, [CHECK, CAREFUL, *CALLS])
    assert grade.passed, grade.reason


def test_the_tests_bring_their_own_helpers(grader: CodeGrader) -> None:
    check = Check(
        source="assert decode(encode('ab')) == 'ab'",
        support="def encode(text): return text[::-1]",
        entry_points=("decode",),
    )
    cheat = "def encode(text): return text\ndef decode(text): return text"
    assert not grader.run_tests(cheat, [check]).passed
    assert grader.run_tests("def decode(text): return text[::-1]", [check]).passed


def test_the_wrong_secret_proves_nothing(
    grader: CodeGrader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tests, the same honest program; only the secret that comes back is another."""
    from munro.rewards.code import relay

    assert grader.run_tests(f"{HONEST}  # known", [CHECK]).passed
    monkeypatch.setattr(relay.hmac, "compare_digest", lambda ours, theirs: ours == "")
    assert not grader.run_tests(f"{HONEST}  # unknown", [CHECK]).passed
