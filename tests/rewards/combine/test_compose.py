"""How parts of a reward add up: Eq. 10, and what a grade may be."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.rewards.combine.compose import compose
from munro.rewards.config import RewardsConfig
from munro.rewards.errors import GraderError
from munro.rewards.types import Grade

shares = st.floats(0, 1)


def test_the_report_s_example_weights_give_the_worked_total():
    parts = compose(Grade.of(True), language=1.0, length=0.1, config=RewardsConfig())
    assert parts.total == pytest.approx(1 + 0.5 * 1 - 0.25 * 0.1)
    assert (parts.task, parts.language, parts.length) == (1.0, 1.0, 0.1)


@given(reward=st.floats(-5, 5), language=shares, length=shares, w=shares, v=shares)
def test_the_total_is_the_weighted_sum_and_every_part_is_kept(reward, language, length, w, v):
    config = RewardsConfig(language_weight=w, length_weight=v)
    parts = compose(Grade.of(reward), language=language, length=length, config=config)
    assert parts.total == pytest.approx(reward + w * language - v * length)
    assert (parts.task, parts.language, parts.length) == (reward, language, length)


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_a_grade_that_is_not_finite_is_broken_machinery(reward):
    with pytest.raises(GraderError, match="finite"):
        Grade.of(reward)
    with pytest.raises(GraderError, match="style"):
        Grade(reward=0.0, parts={"style": reward})


@pytest.mark.parametrize(
    ("grade", "solved"),
    [
        (Grade.of(True), True),
        (Grade.of(False), False),
        (Grade.of(0.2), True),
        (Grade.of(0.0), False),
        (Grade(reward=0.9, passed=False), False),
    ],
)
def test_the_verdict_decides_and_without_one_a_positive_reward(grade, solved):
    assert grade.solved is solved


def test_the_room_and_its_verifier_load_neither_sympy_nor_torch():
    code = (
        "import sys, munro.rewards, munro.rewards.math, munro.rewards.language\n"
        "import munro.rewards.combine.compose\n"
        "munro.rewards.MathVerifier\n"
        "print(sorted({'sympy', 'torch', 'ray', 'vllm', 'math_verify'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_of_the_room_is_an_attribute_error():
    from munro import rewards

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = rewards.nonsense
