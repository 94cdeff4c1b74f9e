"""Hostile answers through the verifier: none hangs, none executes, the service lives on."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from munro.rewards.config import RewardsConfig
from munro.rewards.math import MathVerifier
from munro.rewards.types import Grade
from tests.rewards.hostile import hostile_answers, injections

GOLDS = (r"\sqrt{2}+z_1", "17", r"(3, \sqrt{5})")
DRESSES = ("<answer>{}</answer>", r"so it is \boxed{{{}}}", "The answer is {}")


def _attack(num_answers: int, canary: Path, *, cpu_s: float) -> list[Grade]:
    """Grade them all, then prove that the same verifier still tells right from wrong."""
    config = RewardsConfig(workers=2, timeout_s=30, memory_mb=512)
    answers = list(hostile_answers(num_answers, str(canary)))
    assert len(set(answers)) >= num_answers

    def grade(turn: int) -> Grade:
        dress = DRESSES[turn % len(DRESSES)]
        reply = dress.replace("{{{}}}", "{{}}").replace("{}", answers[turn])
        return verifier.verify(reply, GOLDS[turn % len(GOLDS)])

    with MathVerifier(config, cpu_s=cpu_s) as verifier, ThreadPoolExecutor(4) as threads:
        grades = list(threads.map(grade, range(len(answers))))
        assert verifier.verify(r"\boxed{z_1+\sqrt{2}}", GOLDS[0]).passed is True
        assert verifier.verify(r"\boxed{z_1-\sqrt{2}}", GOLDS[0]).passed is False
        assert verifier.verify("<answer>34/2</answer>", GOLDS[1]).passed is True
    return grades


def test_hostile_answers_all_fail_none_executes_and_the_service_answers(tmp_path):
    grades = _attack(60, tmp_path / "canary", cpu_s=1)
    assert [grade.reason for grade in grades if grade.passed is not False] == []
    assert not (tmp_path / "canary").exists()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_thousand_hostile_answers_all_fail_none_executes_and_the_service_answers(tmp_path):
    grades = _attack(1000, tmp_path / "canary", cpu_s=1)
    assert [grade.reason for grade in grades if grade.passed is not False] == []
    assert not (tmp_path / "canary").exists()
    kinds = Counter(grade.reason.split(":")[0].split("(")[0] for grade in grades)
    assert kinds["checking the answer"] > 0, "no answer was hard enough to need its limit"


def test_the_injections_would_have_worked_on_a_reader_that_evaluates(tmp_path):
    """The canary can sing: without this, its silence above would prove nothing."""
    canary = tmp_path / "canary"
    eval(injections(str(canary))[0])
    assert canary.exists()
