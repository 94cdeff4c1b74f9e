"""The learning rate: constant unless a schedule moves it, and the same after a resume."""

from __future__ import annotations

import numpy as np
import pytest

from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.plugs import resolved
from munro.rl.rate import rate_of
from tests.rl.builders import random_group, save_model

PEAK = 1e-3


@pytest.fixture
def folder(tmp_path):
    return save_model(tmp_path / "model")


def config(**schedule) -> LearnerConfig:
    return LearnerConfig(learning_rate=PEAK, eps=1e-8, threads=1, schedule=schedule)


def rates(learner: Learner, steps: int) -> list[float | None]:
    batch = build_batch([random_group(np.random.default_rng(1))])
    taken = [learner.step(batch, clip=Clip()).metrics for _ in range(steps)]
    return [one.get("learner/learning_rate") for one in taken]


def test_a_constant_rate_is_not_touched_and_not_told(folder):
    assert rate_of(LearnerConfig()) is None
    learner = Learner(folder, config(), seed=0)
    assert rates(learner, 2) == [None, None]
    assert [group["lr"] for group in learner._optimizer.param_groups] == [PEAK]


def test_warm_up_and_a_straight_line_down_worked_out_by_hand(folder):
    # 2 steps up, then from the peak to a tenth of it over the 4 that are left
    learner = Learner(
        folder, config(shape="linear", warmup_steps=2, final=0.1, num_steps=6), seed=0
    )
    shares = [0.5, 1.0, 1.0, 0.775, 0.55, 0.325, 0.1, 0.1]
    assert rates(learner, 8) == pytest.approx([PEAK * share for share in shares])


def test_half_a_cosine_down_to_nothing(folder):
    learner = Learner(folder, config(shape="cosine", num_steps=4), seed=0)
    shares = [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0]
    assert rates(learner, 5) == pytest.approx([PEAK * share for share in shares])


def test_the_weights_move_by_the_rate_of_the_step(folder):
    def moved(**schedule) -> float:
        learner = Learner(folder, config(**schedule), seed=0)
        before = [p.detach().clone() for p in learner._policy.parameters()]
        rates(learner, 1)
        after = [p.detach() for p in learner._policy.parameters()]
        return max(float((a - b).abs().max()) for a, b in zip(after, before, strict=True))

    # Adam's first step is the rate wherever the gradient is not tiny
    assert moved() == pytest.approx(PEAK, rel=1e-3)
    assert moved(warmup_steps=4) == pytest.approx(PEAK / 4, rel=1e-3)


def test_a_resumed_learner_goes_on_in_its_schedule(folder, tmp_path):
    how = {"shape": "linear", "warmup_steps": 2, "num_steps": 6}
    whole = rates(Learner(folder, config(**how), seed=0), 5)
    first = Learner(folder, config(**how), seed=0)
    begun = rates(first, 3)
    first.save(tmp_path / "saved", {})
    second = Learner(folder, config(**how), seed=0)
    second.load(tmp_path / "saved")
    assert begun + rates(second, 2) == whole


def test_a_climb_fills_in_its_own_steps(folder):
    falling = config(shape="cosine")
    with pytest.raises(ValueError, match=r"learner\.schedule\.num_steps, which is 0"):
        Learner(folder, falling, seed=0)
    assert resolved(falling, num_steps=7).schedule.num_steps == 7
    assert resolved(config(shape="cosine", num_steps=3), num_steps=7).schedule.num_steps == 3
