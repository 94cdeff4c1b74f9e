"""Programs that people reported as graded wrongly, here or elsewhere, with their right verdicts.

`reported.jsonl` holds [program, tests, options, passes], the tests as (kind, fields).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.rewards.code import Call, Case, Check, CodeGrader
from munro.rewards.config import RewardsConfig, SandboxConfig

TEXT = Path(__file__).with_name("reported.jsonl").read_text(encoding="utf-8")
ROWS = [json.loads(line) for line in TEXT.splitlines()]
KINDS = {"Case": Case, "Call": Call, "Check": Check}
BIG = "1" + "0" * 20_000


@pytest.fixture(scope="module")
def grader() -> Iterator[CodeGrader]:
    with CodeGrader(RewardsConfig(sandbox=SandboxConfig(cpu_s=5, wall_s=60))) as grader:
        yield grader


@pytest.mark.parametrize(("program", "tests", "options", "passes"), ROWS, ids=range(len(ROWS)))
def test_a_reported_program_gets_the_right_verdict(grader, program, tests, options, passes) -> None:
    made = [
        KINDS[kind](**{k: tuple(v) if k == "entry_points" else v for k, v in fields.items()})
        for kind, fields in tests
    ]
    grade = grader.run_tests(program, made, **options)
    assert grade.passed is passes, grade.reason


INTEGERS = [
    ("print(10**20_000)", Case(stdout=BIG)),
    ("print(int(input()) + 0)", Case(stdin=BIG, stdout=BIG)),
    ("def f(s): return int(s)", Call(function="f", args=(BIG,), expected=10**20_000)),
    ("def f(n): return str(n)", Check(source="assert f(10**20_000) == str(10**20_000)")),
]


@pytest.mark.parametrize(("program", "test"), INTEGERS, ids=range(len(INTEGERS)))
def test_an_integer_may_have_any_number_of_digits(grader, program, test) -> None:
    grade = grader.run_tests(program, [test])
    assert grade.passed, grade.reason


def test_too_many_digits_cost_time_and_no_more(grader) -> None:
    grade = grader.run_tests(
        "int('9' * 10_000_000)", [Case()], limits={"cpu_s": 0.5, "memory_mb": 512}
    )
    assert grade.reason.endswith("hit the limit of cpu")
