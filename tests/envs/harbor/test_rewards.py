"""What tests wrote is data: a number, a table of numbers, a summary; or no reward."""

from __future__ import annotations

import pytest

from munro.envs import EnvironmentFailure
from munro.envs.harbor.rewards import grade_of, grade_of_summary

SUMMARY = "=========================== short test summary info ============\n"


@pytest.mark.parametrize(
    ("files", "reward"),
    [
        ({"reward.txt": b"1\n"}, 1.0),
        ({"reward.txt": b" 0.25 "}, 0.25),
        ({"reward.json": b"1"}, 1.0),
        ({"reward.json": b'{"reward": 0.5, "style": 1}'}, 0.5),
        ({"reward.json": b'{"score": 1}'}, 1.0),
        ({"reward.json": b'{"reward": 0}', "reward.txt": b"1"}, 0.0),
        ({}, 0.0),
        ({"reward.txt": b""}, 0.0),
        ({"reward.txt": b"nan"}, 0.0),
        ({"reward.txt": b"one"}, 0.0),
        ({"reward.json": b"NaN"}, 0.0),
        ({"reward.json": b"1e999"}, 0.0),
        ({"reward.json": b"1" + 400 * b"0"}, 0.0),
        ({"reward.json": b"true"}, 1.0),
        ({"reward.json": b'{"reward": "1"}'}, 0.0),
        ({"reward.json": b'{"reward": 1, "x": null}'}, 0.0),
        ({"reward.json": b"[" * 100_000}, 0.0),
        ({"reward.json": b'{"reward": ' + b"9" * 5000 + b"}"}, 0.0),
        ({"reward.json": b"{}"}, 0.0),
    ],
)
def test_files_are_numbers_or_nothing(files: dict[str, bytes], reward: float) -> None:
    grade = grade_of(files, "reward", "t", "exit status 0")
    assert grade.reward == reward
    assert grade.passed is (reward >= 1)


def test_which_of_several_must_be_said() -> None:
    with pytest.raises(EnvironmentFailure, match="wrote a, b, and none of them is 'reward'"):
        grade_of({"reward.json": b'{"a": 1, "b": 0}'}, "reward", "t", "")
    assert grade_of({"reward.json": b'{"a": 1, "b": 0}'}, "a", "t", "").passed


@pytest.mark.parametrize(
    ("said", "status", "passed"),
    [
        (f"{SUMMARY}PASSED tests/x.py::a\nPASSED tests/x.py::b\n", 0, True),
        (f"{SUMMARY}\x1b[32mPASSED\x1b[0m tests/x.py::a\n", 0, True),
        (f"{SUMMARY}PASSED tests/x.py::a\nFAILED tests/x.py::b - assert 0\n", 1, False),
        (f"{SUMMARY}PASSED tests/x.py::a\nERROR tests/x.py\n", 0, False),
        (f"{SUMMARY}PASSED tests/x.py::a\n", 1, False),
        ("PASSED tests/x.py::a\n", 0, False),
        (f"{SUMMARY}PASSED x\n{SUMMARY}FAILED x\n", 0, False),
        ("", 0, False),
    ],
)
def test_a_summary_of_pytest(said: str, status: int, passed: bool) -> None:
    assert grade_of_summary(said, status).passed is passed
